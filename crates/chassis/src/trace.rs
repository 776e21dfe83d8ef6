//! Traces: what an event goes through, told to a collector over OTLP.
//!
//! An event is traced or it is not, which is decided once, where it comes in: its
//! caller says so, or chance does. What is not traced costs nothing further on:
//! no span is made, and nothing is carried along. What is, carries the place of
//! the span before it, as W3C's `traceparent`.

use std::sync::OnceLock;
use std::time::Duration;

pub use opentelemetry::trace::SpanKind;
use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use url::Url;

use crate::config::web_url;
use crate::{Env, entropy};

/// How long a collector may take for a batch, and a stop for what is left.
const PATIENCE: Duration = Duration::from_secs(5);

/// The tracer of this process, once there is one.
static TRACER: OnceLock<Tracing> = OnceLock::new();

struct Tracing {
    tracer: SdkTracer,
    ratio: f64,
}

/// Whom to tell, and of how much.
#[derive(Clone, Debug)]
pub struct TraceConfig {
    /// Where a collector takes OTLP over gRPC.
    pub endpoint: Option<Url>,
    /// The share of events that are traced without their caller's word.
    pub ratio: f64,
}

impl TraceConfig {
    /// Reads the settings.
    pub fn read(env: &mut Env) -> Self {
        let config = Self {
            endpoint: env.optional(
                "POSTRIDER_OTLP_ENDPOINT",
                "Where a collector takes traces, as OTLP over gRPC, such as `http://127.0.0.1:4317`. Without it nothing is traced.",
                web_url,
            ),
            ratio: env.read(
                "POSTRIDER_TRACE_RATIO",
                "0.01",
                "Share of the events that are traced, 0 to 1. Those that come with a `traceparent` are traced when it says so, whatever this is.",
            ),
        };
        env.check((0.0..=1.0).contains(&config.ratio), || {
            format!("POSTRIDER_TRACE_RATIO: expected 0 to 1, found {}", config.ratio)
        });
        config
    }
}

/// Ends the telling; what was not told yet is, when this is ended.
#[must_use = "the last spans are told when it is ended"]
#[derive(Debug)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Tells a collector from here on, if there is one. Needs a runtime, on which
    /// the connection to the collector lives.
    ///
    /// # Errors
    /// When the endpoint cannot be used.
    pub fn init(config: &TraceConfig, service: String) -> anyhow::Result<Self> {
        let Some(endpoint) = &config.endpoint else { return Ok(Self(None)) };
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint.as_str())
            .with_timeout(PATIENCE)
            .build()?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            // Whether an event is traced is decided before a span is made.
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(Resource::builder().with_service_name(service).build())
            .build();
        let tracing = Tracing { tracer: provider.tracer("postrider"), ratio: config.ratio };
        // A second call in one process goes on with the first one's.
        let _ = TRACER.set(tracing);
        Ok(Self(Some(provider)))
    }

    /// Tells what is left to tell. A collector that is away makes it wait a moment.
    pub async fn end(self) {
        let Some(provider) = self.0 else { return };
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(PATIENCE));
        if let Ok(Err(error)) = ended.await {
            tracing::warn!(%error, "the last traces were not told");
        }
    }
}

/// A piece of work on an event, told when it is dropped; nothing where the event
/// is not traced.
#[derive(Debug, Default)]
pub struct Span(Option<Box<opentelemetry_sdk::trace::Span>>);

impl Span {
    /// Work on an event that comes in: under the caller's span, if that is traced,
    /// or by chance the first of a trace.
    pub fn accepting(name: &'static str, traceparent: &str) -> Self {
        let Some(tracing) = TRACER.get() else { return Self(None) };
        let builder = tracing.tracer.span_builder(name).with_kind(SpanKind::Server);
        match parse(traceparent) {
            Some(caller) if caller.is_sampled() => Self::under(tracing, builder, caller),
            Some(_) => Self(None),
            None if entropy::fraction() < tracing.ratio => {
                Self(Some(Box::new(tracing.tracer.build_with_context(builder, &Context::new()))))
            }
            None => Self(None),
        }
    }

    /// Work that goes on from another span.
    pub fn after(name: &'static str, kind: SpanKind, traceparent: &str) -> Self {
        let Some((tracing, before)) = traced(traceparent) else { return Self(None) };
        Self::under(tracing, tracing.tracer.span_builder(name).with_kind(kind), before)
    }

    /// Work that another span has led to, hours ago perhaps: a trace of its own,
    /// which names that span.
    pub fn led_to_by(name: &'static str, kind: SpanKind, traceparent: &str) -> Self {
        let Some((tracing, before)) = traced(traceparent) else { return Self(None) };
        let links = vec![Link::new(before, Vec::new(), 0)];
        let builder = tracing.tracer.span_builder(name).with_kind(kind).with_links(links);
        Self(Some(Box::new(tracing.tracer.build_with_context(builder, &Context::new()))))
    }

    fn under(
        tracing: &Tracing,
        builder: opentelemetry::trace::SpanBuilder,
        before: SpanContext,
    ) -> Self {
        let context = Context::new().with_remote_span_context(before);
        Self(Some(Box::new(tracing.tracer.build_with_context(builder, &context))))
    }

    /// Where this span stands, for what comes after it; empty if not traced.
    pub fn traceparent(&self) -> String {
        let Some(span) = &self.0 else { return String::new() };
        let context = span.span_context();
        format!("00-{}-{}-01", context.trace_id(), context.span_id())
    }

    /// Notes something about the work.
    pub fn text(&mut self, name: &'static str, value: &str) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(name, value.to_owned()));
        }
    }

    /// Notes a number about the work.
    pub fn number(&mut self, name: &'static str, value: i64) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(name, value));
        }
    }

    /// Says that the work did not succeed, and why.
    pub fn fail(&mut self, why: &str) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(why.to_owned()));
        }
    }
}

fn traced(traceparent: &str) -> Option<(&'static Tracing, SpanContext)> {
    if traceparent.is_empty() {
        return None;
    }
    Some((TRACER.get()?, parse(traceparent)?))
}

/// Reads W3C's `traceparent`, of whichever version: what later ones add stands
/// behind what the first one has.
fn parse(text: &str) -> Option<SpanContext> {
    let mut parts = text.trim().split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, len| {
        text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    if !is_hex(version, 2)
        || version == "ff"
        || !is_hex(trace, 32)
        || !is_hex(span, 16)
        || !is_hex(flags, 2)
    {
        return None;
    }
    if version == "00" && parts.next().is_some() {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_as_the_standard_has_it() {
        let read = parse(TRACED).unwrap();
        assert!(read.is_sampled());
        assert_eq!(read.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(!parse(&TRACED.replace("-01", "-00")).unwrap().is_sampled());
        assert!(parse(&TRACED.replacen("00-", "cc-", 1)).is_some(), "a version to come");
        assert!(parse(&format!("{}-more", TRACED.replacen("00-", "cc-", 1))).is_some());
        for wrong in [
            String::new(),
            "00".to_owned(),
            format!("{TRACED}-more"),
            TRACED.replacen("00-", "ff-", 1),
            TRACED.replace("4bf92f", "4BF92F"),
            TRACED.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            TRACED.replace("00f067aa0ba902b7", &"0".repeat(16)),
            TRACED.replace("b7-01", "b7-1"),
        ] {
            assert!(parse(&wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn without_a_collector_nothing_is_made() {
        let span = Span::accepting("accept", TRACED);
        assert_eq!(span.traceparent(), "");
        assert_eq!(Span::after("route", SpanKind::Consumer, TRACED).traceparent(), "");
    }
}
