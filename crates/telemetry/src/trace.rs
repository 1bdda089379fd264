//! Spans that belong to one trace, whichever process they are in.
//!
//! A trace begins with a request, or with a client's `traceparent`, and goes on wherever its
//! context is carried: in the row of a job, in its message, in the events about it. The context is
//! carried, and the log names the trace, whether or not spans are exported.

use std::time::SystemTime;

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _,
};
use opentelemetry::{Context, global};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

pub use opentelemetry::KeyValue;

/// Who makes our spans.
pub(crate) const TRACER: &str = "tonemill";
/// The target of spans that are of interest to the log alone.
pub const UNTRACED: &str = "untraced";

/// `span` as a part of the trace that `traceparent` (W3C) belongs to, or as the beginning of a new
/// one if there is none that makes sense. A field `trace_id` that the span left empty is filled in.
/// The span must not have been entered before.
#[must_use]
pub fn continued(span: Span, traceparent: Option<&str>) -> Span {
    if let Some(parent) = traceparent.and_then(parse) {
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    } else {
        let _ = span.set_parent(Context::new());
    }
    tell_trace(&span);
    span
}

/// `span`, which is a part of whatever is going on, with the field `trace_id` filled in.
#[must_use]
pub fn within(span: Span) -> Span {
    tell_trace(&span);
    span
}

fn tell_trace(span: &Span) {
    let context = span.context();
    let context = context.span().span_context().clone();
    if context.is_valid() {
        span.record("trace_id", tracing::field::display(context.trace_id()));
    }
}

/// What others have to be told to continue with `span`: a `traceparent`, unless this process keeps
/// no traces.
#[must_use]
pub fn traceparent_of(span: &Span) -> Option<String> {
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    let flags = (context.trace_flags() & TraceFlags::SAMPLED).to_u8();
    let text = || format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
    context.is_valid().then(text)
}

/// The same of the current span.
#[must_use]
pub fn traceparent() -> Option<String> {
    traceparent_of(&Span::current())
}

/// Puts a span into the current trace, below the current span, whose time is over already: for
/// stages that overlap, each of which is many small pieces of work.
pub fn past(
    name: &'static str,
    from: SystemTime,
    to: SystemTime,
    attributes: impl IntoIterator<Item = KeyValue>,
) {
    let parent = Span::current().context();
    if !parent.span().span_context().is_sampled() {
        return;
    }
    let tracer = global::tracer(TRACER);
    let span = tracer.span_builder(name).with_start_time(from);
    let mut span = span.with_attributes(attributes).start_with_context(&tracer, &parent);
    span.end_with_timestamp(to);
}

/// Marks `span` as one that failed; `kind` is one of a few words.
pub fn failed(span: &Span, kind: &'static str) {
    span.set_attribute("error.type", kind);
    span.set_status(Status::error(kind));
}

/// Says of `span` what HTTP request it answered, by OpenTelemetry's semantic conventions.
pub fn answered(span: &Span, method: &'static str, route: &str, status: u16) {
    span.set_attribute("http.request.method", method);
    span.set_attribute("http.route", route.to_owned());
    span.set_attribute("http.response.status_code", i64::from(status));
    if status >= 500 {
        span.set_attribute("error.type", status.to_string());
        span.set_status(Status::error(""));
    }
}

/// A `traceparent` as the recommendation has it (<https://www.w3.org/TR/trace-context/>, section
/// 3.2).
fn parse(text: &str) -> Option<SpanContext> {
    let is_hex = |text: &str| text.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
    let mut fields = text.split('-');
    let mut field = |length: usize| fields.next().filter(|f| f.len() == length && is_hex(f));
    let (version, trace, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    // Later versions may have more fields.
    if version == "ff" || (version == "00" && fields.next().is_some()) {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(flags) & TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn what_is_no_traceparent_is_none() {
        let context = parse(&format!("00-{TRACE}-b7ad6b7169203331-03")).unwrap();
        assert_eq!(context.trace_id().to_string(), TRACE);
        assert!(context.is_sampled() && context.is_remote());
        assert!(!parse(&format!("00-{TRACE}-b7ad6b7169203331-00")).unwrap().is_sampled());
        assert!(parse(&format!("01-{TRACE}-b7ad6b7169203331-00-more")).is_some());
        for wrong in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-b7ad6b7169203331-01-more"),
            format!("ff-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-+{}-b7ad6b7169203331-01", &TRACE[1..]),
            format!("00-{TRACE}-b7ad6b716920333-01"),
            format!("00-{TRACE}-b7ad6b7169203331-1"),
            format!("00-{TRACE}-b7ad6b7169203331-0g"),
            format!("00_{TRACE}_b7ad6b7169203331_01"),
            format!("00-é{}-b7ad6b7169203331-01", &TRACE[2..]),
        ] {
            assert_eq!(parse(&wrong), None, "{wrong}");
        }
    }
}
