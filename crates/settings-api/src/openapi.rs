//! The description of the customers' calls, made from their handlers: served
//! for tools at `/openapi.json`, for people at `/docs/api`.

use std::collections::BTreeMap;

use axum::Router;
use axum::middleware::map_response;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, header};
use utoipa::PartialSchema as _;
use utoipa::openapi::{
    Content, ContentBuilder, Info, License, OpenApi, OpenApiBuilder, Ref, RefOr, Response,
    ResponseBuilder, Server, Tag,
    path::Operation,
    security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::error::{Problem, TooManyRequests};

/// Name of the one way to authenticate.
const BASIC: &str = "basic";

/// The description that the calls are added to.
pub(crate) fn blank() -> OpenApi {
    let mut info = Info::new("Postrider", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "Webhooks, alerts and what belongs to them, as Mailgun's clients know them. \
         Authenticate with user `api` and an API key as the password; with the header \
         `X-Mailgun-On-Behalf-Of` a call is for that subaccount. Bodies are described as JSON; \
         but for alerts, logs and what has the prefix `/postrider`, they are taken as \
         `multipart/form-data` and `application/x-www-form-urlencoded` too, with the same names."
            .to_owned(),
    );
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    info.license = Some(license);
    let tag = |name: &str, text: &str| {
        let mut tag = Tag::new(name);
        tag.description = Some(text.to_owned());
        tag
    };
    OpenApiBuilder::new()
        .info(info)
        // Wherever the description was fetched from.
        .servers(Some([Server::new("/")]))
        .tags(Some([
            tag("domain webhooks", "Which URLs hear of the events of one domain."),
            tag("account webhooks", "Which URLs hear of the events of all domains."),
            tag("alerts", "Which alert goes where."),
            tag("accounts", "Signing keys, switches, subaccounts."),
            tag("domains", "The domains of an account."),
            tag("keys", "API keys."),
            tag("delivery", "How deliveries are made."),
            tag("events", "What has happened, and what became of it."),
        ]))
        .build()
}

/// Adds what is the same for many calls, so that no handler has to repeat it:
/// the answers that each can give. Forms are described as JSON alone: of a body
/// with several types, generators of clients make code that does not run.
pub(crate) fn complete(openapi: &mut OpenApi) {
    let basic = SecurityScheme::Http(Http::new(HttpAuthScheme::Basic));
    let components = openapi.components.get_or_insert_default();
    components.schemas.insert("Error".to_owned(), Problem::schema());
    components.schemas.insert("TooManyRequests".to_owned(), TooManyRequests::schema());
    components.security_schemes.insert(BASIC.to_owned(), basic.into());
    openapi.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], _>(BASIC, [])]);
    for (path, item) in &mut openapi.paths.paths {
        let operations =
            [&mut item.get, &mut item.post, &mut item.put, &mut item.delete].into_iter().flatten();
        for operation in operations {
            if path.contains('{') {
                answer(operation, "404", "There is no such thing", error());
            }
            answer(operation, "400", "Something in the request is wrong", error());
            answer(operation, "401", "No API key, or not a valid one", text());
            answer(operation, "403", "Not with this key, or not for this account", error());
            answer(operation, "500", "A fault of the service", error());
            answer(
                operation,
                "503",
                "Database or broker are away; nothing was changed, or the change comes into force later",
                error(),
            );
            if operation.request_body.is_some() {
                answer(operation, "408", "The body did not come in time", error());
                answer(operation, "413", "The body is larger than 1 MiB", error());
                answer(operation, "415", "The body's type is none of those that are read", error());
            }
            let schema = Ref::from_schema_name("TooManyRequests");
            let content = ("application/json", Content::new(Some(schema)));
            let many =
                "More calls, at once or over time, than an account with its subaccounts may make";
            answer(operation, "429", many, content);
        }
    }
}

type Typed = (&'static str, Content);

fn text() -> Typed {
    let string = utoipa::openapi::schema::Object::with_type(utoipa::openapi::schema::Type::String);
    ("text/plain", ContentBuilder::new().schema(Some(string)).build())
}

fn error() -> Typed {
    let schema = Ref::from_schema_name("Error");
    ("application/json", ContentBuilder::new().schema(Some(schema)).build())
}

/// Adds an answer, unless the handler has described it itself.
fn answer(operation: &mut Operation, status: &str, description: &str, (media, content): Typed) {
    let responses: &mut BTreeMap<String, RefOr<Response>> = &mut operation.responses.responses;
    responses.entry(status.to_owned()).or_insert_with(|| {
        ResponseBuilder::new().description(description).content(media, content).build().into()
    });
}

/// Keeps the page out of other sites' frames: its visitor may be signed in to the console, which
/// can have the same origin.
async fn alone(mut response: axum::response::Response) -> axum::response::Response {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, "frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Serves the description and the page. Open to everyone: it says nothing of any account.
pub(crate) fn router(openapi: OpenApi) -> Router {
    let json = match openapi.to_json() {
        Ok(json) => Bytes::from(json),
        // Strings and maps with string keys only.
        Err(error) => unreachable!("the description is JSON: {error}"),
    };
    let content_type = HeaderValue::from_static("application/json");
    let serve = move || {
        let answer = ([(header::CONTENT_TYPE, content_type.clone())], json.clone());
        async move { answer }
    };
    let config =
        Config::new(["/openapi.json"]).validator_url("none").display_request_duration(true);
    let page = SwaggerUi::new("/docs/api").config(config);
    Router::new().route("/openapi.json", get(serve)).merge(page).layer(map_response(alone))
}
