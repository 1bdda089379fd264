//! How long the store takes to answer, by operation: from a request to the head of its answer, each
//! try by itself.

use std::time::Instant;

use aws_sdk_s3::config::interceptors::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

/// Measures every try.
#[derive(Debug)]
pub struct Latency;

#[derive(Debug)]
struct Started(Instant);

impl Storable for Started {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Latency {
    fn name(&self) -> &'static str {
        "latency"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        state: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        state.interceptor_state().store_put(Started(Instant::now()));
        Ok(())
    }

    fn read_after_attempt(
        &self,
        answer: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        state: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = state.load::<Metadata>().map(|call| call.name().to_owned());
        let answered = answer.response().is_some_and(|answer| answer.status().is_success());
        if let (Some(Started(at)), Some(operation)) = (state.load::<Started>(), operation) {
            let outcome = if answered { "ok" } else { "error" };
            let labels = [("operation", operation), ("outcome", outcome.to_owned())];
            metrics::histogram!("tonemill_s3_call_duration_seconds", &labels).record(at.elapsed());
        }
        Ok(())
    }
}
