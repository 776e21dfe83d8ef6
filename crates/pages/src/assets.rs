//! The files that pages load, built into the program.

use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::routing::get;
use sha2::{Digest as _, Sha256};

/// Where the stylesheet is.
pub const STYLESHEET: &str = "/assets/style.css";
/// Where the icon is.
pub const ICON: &str = "/assets/icon.svg";
/// Where the script is: htmx, which fetches parts of pages anew.
pub const HTMX: &str = "/assets/htmx.min.js";

struct Asset {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const ASSETS: [Asset; 3] = [
    Asset {
        path: STYLESHEET,
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("../assets/style.css"),
    },
    Asset {
        path: ICON,
        content_type: "image/svg+xml",
        bytes: include_bytes!("../assets/icon.svg"),
    },
    Asset {
        path: HTMX,
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../assets/htmx.min.js"),
    },
];

/// Changes with the bytes, so that a browser keeps a file until it is another.
static TAGS: LazyLock<[String; 3]> = LazyLock::new(|| {
    ASSETS.each_ref().map(|asset| format!("\"{}\"", hex::encode(&Sha256::digest(asset.bytes)[..8])))
});

/// Serves the files.
pub fn assets<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.iter().zip(TAGS.iter()).fold(Router::new(), |router, (asset, tag)| {
        router.route(
            asset.path,
            get(move |headers: HeaderMap| async move { send(asset, tag, &headers) }),
        )
    })
}

fn send(asset: &'static Asset, tag: &'static str, headers: &HeaderMap) -> Response<Body> {
    let is_known = headers.get(IF_NONE_MATCH).is_some_and(|known| known == tag);
    let mut response = if is_known {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        Response::new(Body::from(asset.bytes))
    };
    for (name, value) in [
        (CONTENT_TYPE, asset.content_type),
        (ETAG, tag),
        (CACHE_CONTROL, "public, max-age=300"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(path: &str, known: Option<&HeaderValue>) -> Response<Body> {
        let mut request = Request::get(path);
        if let Some(known) = known {
            request = request.header(IF_NONE_MATCH, known);
        }
        assets::<()>().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn files_are_sent_once_and_then_known() {
        for path in [STYLESHEET, ICON, HTMX] {
            let first = get(path, None).await;
            assert_eq!(first.status(), StatusCode::OK);
            let again = get(path, first.headers().get(ETAG)).await;
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
            assert!(!first.into_body().collect().await.unwrap().to_bytes().is_empty());
        }
    }
}
