//! The trace of an event over all processes, as a collector gets it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use protocol::v1::PublishRequest;
use testkit::{Reply, eventually};
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::system::{SOON, System, clicked};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLERS_SPAN: &str = "00f067aa0ba902b7";

/// A collector: keeps each span with the name of the service that told it.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

/// Ends the collector when it is dropped.
type Serving = JoinSet<Result<(), tonic::transport::Error>>;

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.0.lock().expect("a lock");
        for of_service in request.into_inner().resource_spans {
            let attributes = of_service.resource.map(|resource| resource.attributes);
            let attributes: BTreeMap<_, _> = attributes
                .into_iter()
                .flatten()
                .map(|pair| (pair.key, pair.value.and_then(|value| value.value)))
                .collect();
            let name = match attributes.get("service.name") {
                Some(Some(Value::StringValue(name))) => name.clone(),
                other => panic!("a service without a name: {other:?}"),
            };
            let told = of_service.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(told.map(|span| (name.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Self, SocketAddr, Serving) {
        let collector = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let mut serving = JoinSet::new();
        serving.spawn(server);
        (collector, address, serving)
    }

    /// Waits until there are so many spans, and no more.
    async fn wait_for(&self, count: usize) -> Vec<(String, Span)> {
        let spans = eventually(SOON, &format!("{count} spans"), || async {
            let spans = self.0.lock().expect("a lock").clone();
            (spans.len() >= count).then_some(spans)
        })
        .await;
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }
}

/// Hands an event over, under the span of its caller where that has one.
async fn publish(system: &System, id: &str, flags: Option<&str>) {
    let mut request = Request::new(PublishRequest { events: vec![clicked(id)] });
    if let Some(flags) = flags {
        let parent = format!("00-{TRACE}-{CALLERS_SPAN}-{flags}").parse().expect("ASCII");
        request.metadata_mut().insert("traceparent", parent);
    }
    system.ingest().await.publish(request).await.expect("stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_followed_from_its_caller_to_each_try() {
    let (collector, address, _serving) = Collector::start().await;
    let endpoint = format!("http://{address}");
    let system =
        System::start_apart(&[("OTLP_ENDPOINT", endpoint.as_str()), ("TRACE_RATIO", "0")]).await;
    let (well, shaky) = (system.receiver.url("/well"), system.receiver.url("/shaky"));
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&well, &shaky]).await;

    // Whose caller has no trace is not traced; nor is whose caller says no.
    for (id, flags, posts) in [("untraced", None, 1), ("declined", Some("00"), 2)] {
        publish(&system, id, flags).await;
        system.receiver.wait_for_posts("/shaky", posts, SOON).await;
    }
    system.receiver.on_post("/shaky", [Reply::status(500), Reply::status(200)]);
    publish(&system, "traced", Some("01")).await;
    system.receiver.wait_for_posts("/shaky", 4, SOON).await;

    let spans = collector.wait_for(5).await;
    let named = |name: &str| -> Vec<&(String, Span)> {
        spans.iter().filter(|(_, span)| span.name == name).collect()
    };
    let one = |name: &str| match named(name).as_slice() {
        [(service, span)] => (service.clone(), span.clone()),
        found => panic!("{name}: {found:#?}"),
    };
    let (service, accept) = one("accept");
    assert_eq!(service, "postrider-ingest");
    assert_eq!(hex(&accept.trace_id), TRACE);
    assert_eq!(hex(&accept.parent_span_id), CALLERS_SPAN);
    let (service, route) = one("route");
    assert_eq!(service, "postrider-fanout");
    assert_eq!((&route.trace_id, &route.parent_span_id), (&accept.trace_id, &accept.span_id));

    let attempts = named("attempt");
    assert!(attempts.iter().all(|(service, _)| service == "postrider-dispatcher"));
    let (first, later): (Vec<&Span>, Vec<&Span>) =
        attempts.iter().map(|(_, span)| span).partition(|span| span.trace_id == accept.trace_id);
    assert_eq!((first.len(), later.len()), (2, 1), "{attempts:#?}");
    assert!(first.iter().all(|span| span.parent_span_id == route.span_id));
    let failed = first.iter().filter(|span| span.status.as_ref().is_some_and(|s| s.code == 2));
    assert_eq!(failed.count(), 1, "one of the first two was answered with 500");
    // A retry may come hours later: a trace of its own, which says where it comes from.
    let [link] = later[0].links.as_slice() else { panic!("{:#?}", later[0]) };
    assert!(later[0].parent_span_id.is_empty());
    assert_eq!((&link.trace_id, &link.span_id), (&route.trace_id, &route.span_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_nothing_up() {
    let nowhere = format!("http://127.0.0.1:{}", testkit::free_port().expect("a port"));
    let mut system =
        System::start(&[("OTLP_ENDPOINT", nowhere.as_str()), ("TRACE_RATIO", "1")]).await;
    let hook = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&hook]).await;
    for number in 0..20 {
        system.publish(clicked(&format!("event-{number}"))).await;
    }
    system.receiver.wait_for_posts("/hook", 20, SOON).await;
    let ended = system.process("all").terminate(SOON).await;
    assert!(ended.success(), "it stops as ever: {ended}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
