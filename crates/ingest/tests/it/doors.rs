//! Who may hand over events, where callers are asked who they are.

use std::path::PathBuf;
use std::time::Duration;

use protocol::v1::PublishRequest;
use protocol::v1::ingest_client::IngestClient;
use serde_json::json;
use testkit::http::post;
use testkit::{Authority, Issued, Scratch, within};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use crate::platform::{Platform, SOON, alert};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const NEXT_TOKEN: &str = "fedcba9876543210fedcba9876543210";

/// The files that a door is secured with.
struct Files {
    scratch: Scratch,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            scratch: Scratch::new().expect("a directory"),
            authority: Authority::called("our authority"),
        };
        files.renew(&files.authority);
        files.write("ca.crt", &files.authority.pem());
        files.write("tokens", &format!("mail-pipeline:{TOKEN}\n"));
        files
    }

    /// A certificate for the server, from this authority.
    fn renew(&self, authority: &Authority) {
        let Issued { cert_pem, key_pem } = authority.issue("ingest", &["127.0.0.1"]);
        self.write("tls.crt", &cert_pem);
        self.write("tls.key", &key_pem);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).expect("written");
    }

    /// Ingest with these of its settings, each being the path of a file.
    async fn ingest(&self, settings: &[(&str, &str)]) -> Platform {
        let settings: Vec<(String, String)> = settings
            .iter()
            .map(|(name, file)| {
                (format!("POSTRIDER_INGEST_{name}"), self.path(file).display().to_string())
            })
            .collect();
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, path)| (name.as_str(), path.as_str())).collect();
        Platform::start(&settings).await
    }
}

const TLS: [(&str, &str); 2] = [("TLS_CERT", "tls.crt"), ("TLS_KEY", "tls.key")];
const MUTUAL: [(&str, &str); 3] = [TLS[0], TLS[1], ("CLIENT_CA", "ca.crt")];
const TOKENS: (&str, &str) = ("TOKENS_FILE", "tokens");

/// A connection over TLS that trusts this authority, and shows this certificate.
async fn secured(
    platform: &Platform,
    authority: &Authority,
    shown: Option<&Issued>,
) -> Result<Channel, tonic::transport::Error> {
    let mut tls =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem().as_bytes()));
    if let Some(Issued { cert_pem, key_pem }) = shown {
        tls = tls.identity(Identity::from_pem(cert_pem, key_pem));
    }
    let endpoint = Endpoint::from_shared(format!("https://{}", platform.grpc))?;
    endpoint.tls_config(tls)?.connect().await
}

async fn publish(channel: Channel, id: &str, token: Option<&str>) -> Result<(), Status> {
    let mut request = Request::new(PublishRequest { events: vec![alert("demo", id)] });
    if let Some(token) = token {
        let header = format!("Bearer {token}").parse().expect("a header");
        request.metadata_mut().insert("authorization", header);
    }
    let pretended = "somebody-else".parse().expect("a header");
    request.metadata_mut().insert("x-postrider-caller", pretended);
    within(SOON, "an answer", IngestClient::new(channel).publish(request)).await.map(drop)
}

fn posted(platform: &Platform, id: &str) -> testkit::http::Request {
    let listed = json!({"ip": "192.0.2.44", "blocklist": "Example BL"});
    let event = json!({"account": "demo", "id": id, "ip_listed": listed});
    let request = post(format!("http://{}/v1/events", platform.http)).json(&event);
    request.header("x-postrider-caller", "somebody-else")
}

#[tokio::test]
async fn where_tls_is_spoken_nobody_comes_in_without() {
    let files = Files::new();
    let platform = files.ingest(&TLS).await;
    let plain = IngestClient::connect(format!("http://{}", platform.grpc)).await;
    if let Ok(mut client) = plain {
        let request = PublishRequest { events: vec![alert("demo", "plain")] };
        client.publish(request).await.expect_err("refused");
    }
    posted(&platform, "plain").send().await.expect_err("refused");
    let stranger = Authority::called("somebody else's");
    secured(&platform, &stranger, None).await.expect_err("the client knows no such server");

    let channel = secured(&platform, &files.authority, None).await.expect("connected");
    publish(channel, "grpc", None).await.expect("stored");
    let request = posted(&platform, "http").over_tls(&files.authority.pem(), None);
    request.send().await.expect("answered").expect_status(200);
    let stored = platform.stored(2).await;
    // Nobody has proven a name, so that the one that is given is all there is.
    assert!(stored.iter().all(|event| event.caller == "somebody-else"), "{stored:?}");
}

#[tokio::test]
async fn a_certificate_is_asked_for_and_names_the_caller() {
    let files = Files::new();
    let platform = files.ingest(&MUTUAL).await;
    let stranger = Authority::called("our authority").issue("mail-pipeline", &[]);
    for shown in [None, Some(&stranger)] {
        // TLS 1.3 tells a client that it is refused only once it has said something.
        if let Ok(channel) = secured(&platform, &files.authority, shown).await {
            publish(channel, "refused", None).await.expect_err("refused");
        }
        let request = posted(&platform, "refused").over_tls(&files.authority.pem(), shown);
        request.send().await.expect_err("refused");
    }
    let known = files.authority.issue("mail-pipeline", &["mail.internal"]);
    let channel = secured(&platform, &files.authority, Some(&known)).await.expect("connected");
    publish(channel, "grpc", None).await.expect("stored");
    let request = posted(&platform, "http").over_tls(&files.authority.pem(), Some(&known));
    request.send().await.expect("answered").expect_status(200);
    let stored = platform.stored(2).await;
    assert!(stored.iter().all(|event| event.caller == "mail-pipeline"), "{stored:?}");
}

#[tokio::test]
async fn a_token_is_asked_for_before_anything_is_decoded() {
    let files = Files::new();
    let platform = files.ingest(&[TOKENS]).await;
    let channel = Endpoint::from_shared(format!("http://{}", platform.grpc)).expect("a URL");
    let channel = channel.connect().await.expect("connected");
    for token in [None, Some(NEXT_TOKEN), Some("")] {
        let refused = publish(channel.clone(), "refused", token).await.expect_err("refused");
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
        assert!(refused.message().contains("authorization"), "{refused:?}");
    }
    for (header, said) in [
        (None, "Bearer TOKEN"),
        (Some("Basic YXBpOmtleQ=="), "Bearer TOKEN"),
        (Some(&*format!("Bearer {NEXT_TOKEN}")), "none of those that are taken"),
    ] {
        // What comes with it is not even looked at.
        let mut request = posted(&platform, "refused").body("application/json", "{\"nonsense");
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let refused = request.send().await.expect("answered").expect_status(401);
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        let error = &refused.json()["error"];
        assert_eq!(error["code"], "UNAUTHENTICATED");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(said)), "{error}");
    }
    publish(channel.clone(), "grpc", Some(TOKEN)).await.expect("stored");
    let request = posted(&platform, "http").header("authorization", &format!("bearer {TOKEN}"));
    request.send().await.expect("answered").expect_status(200);
    let stored = platform.stored(2).await;
    assert!(stored.iter().all(|event| event.caller == "mail-pipeline"), "{stored:?}");

    let mut health = HealthClient::new(channel.clone());
    let request = HealthCheckRequest { service: "postrider.v1.Ingest".into() };
    health.check(request).await.expect("answered without a token");
    let asked = || {
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let request = ServerReflectionRequest { message_request, ..Default::default() };
        Request::new(tokio_stream::once(request))
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let refused = reflection.server_reflection_info(asked()).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut allowed = asked();
    let header = format!("Bearer {TOKEN}").parse().expect("a header");
    allowed.metadata_mut().insert("authorization", header);
    reflection.server_reflection_info(allowed).await.expect("answered");
}

#[tokio::test]
async fn a_token_comes_on_top_of_a_certificate_and_names_the_caller() {
    let files = Files::new();
    let platform = files.ingest(&[&MUTUAL[..], &[TOKENS]].concat()).await;
    let shown = files.authority.issue("a-certificate", &[]);
    let channel = secured(&platform, &files.authority, Some(&shown)).await.expect("connected");
    let refused = publish(channel.clone(), "refused", None).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
    publish(channel, "one", Some(TOKEN)).await.expect("stored");
    assert_eq!(platform.stored(1).await[0].caller, "mail-pipeline");
}

#[tokio::test]
async fn certificates_are_renewed_under_open_connections() {
    let files = Files::new();
    let platform = files.ingest(&TLS).await;
    let before = secured(&platform, &files.authority, None).await.expect("connected");
    publish(before.clone(), "one", None).await.expect("stored");

    let successor = Authority::called("the next authority");
    files.renew(&successor);
    platform.door.look();
    publish(before.clone(), "two", None).await.expect("the connection goes on");
    secured(&platform, &files.authority, None).await.expect_err("the old one is not shown");
    let after = secured(&platform, &successor, None).await.expect("connected");
    publish(after, "three", None).await.expect("stored");

    files.write("tls.key", &Authority::called("x").issue("x", &[]).key_pem);
    platform.door.look();
    let after = secured(&platform, &successor, None).await.expect("what was right stays");
    publish(after, "four", None).await.expect("stored");
    publish(before, "five", None).await.expect("stored");
    assert_eq!(platform.stored(5).await.len(), 5);
}

#[tokio::test]
async fn tokens_are_replaced_without_a_gap() {
    let files = Files::new();
    let platform = files.ingest(&[TOKENS]).await;
    let channel = Endpoint::from_shared(format!("http://{}", platform.grpc)).expect("a URL");
    let channel = channel.connect().await.expect("connected");
    let publish = async |id: &str, token: &str| publish(channel.clone(), id, Some(token)).await;
    publish("one", TOKEN).await.expect("stored");
    files.write("tokens", &format!("mail-pipeline:{TOKEN}\nmail-pipeline:{NEXT_TOKEN}\n"));
    platform.door.look();
    publish("two", TOKEN).await.expect("stored");
    publish("three", NEXT_TOKEN).await.expect("stored");
    files.write("tokens", &format!("mail-pipeline:{NEXT_TOKEN}\n"));
    platform.door.look();
    let refused = publish("four", TOKEN).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
    publish("four", NEXT_TOKEN).await.expect("stored");
    let stored = platform.stored(4).await;
    assert!(stored.iter().all(|event| event.caller == "mail-pipeline"), "{stored:?}");
}

#[tokio::test]
async fn who_never_shakes_hands_holds_up_nobody() {
    let files = Files::new();
    let platform = files.ingest(&TLS).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(platform.grpc).await.expect("connected"));
        silent.push(TcpStream::connect(platform.http).await.expect("connected"));
    }
    // Well before the first of them has had its time.
    let soon = Duration::from_secs(5);
    let connecting = secured(&platform, &files.authority, None);
    let channel = within(soon, "a connection", connecting).await.expect("connected");
    publish(channel, "grpc", None).await.expect("stored");
    let request = posted(&platform, "http").over_tls(&files.authority.pem(), None);
    within(soon, "an answer", request.send()).await.expect("answered").expect_status(200);
    drop(silent);
}

#[tokio::test]
async fn who_never_shakes_hands_is_sent_away() {
    let files = Files::new();
    let platform = files.ingest(&TLS).await;
    let silent = TcpStream::connect(platform.grpc).await.expect("connected");
    let mut byte = [0];
    let reading = async {
        silent.readable().await.expect("the other side has hung up");
        silent.try_read(&mut byte)
    };
    let read = within(SOON, "the end of the connection", reading).await;
    assert_eq!(read.expect("an orderly end"), 0);
}
