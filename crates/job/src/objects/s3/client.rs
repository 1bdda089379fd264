//! The SDK's client, set up: HTTP, time limits, tries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::{BeforeTransmitInterceptorContextRef, InterceptorContext};
use aws_sdk_s3::config::retry::{
    ClassifyRetry, RetryAction, RetryConfig, RetryPartition, TokenBucket,
};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, ConfigBag, Credentials, Intercept, Region,
    RequestChecksumCalculation, ResponseChecksumValidation, RuntimeComponents, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::{Client, Config};
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_types::retry::ErrorKind;

use super::config::{S3Config, S3Credentials, S3Deadlines};
use super::error::DAMAGED_ON_THE_WAY;
use super::latency::Latency;

pub async fn client(config: &S3Config) -> Result<Client, BoxError> {
    let retries = RetryConfig::standard()
        .with_max_attempts(config.retries.tries)
        .with_initial_backoff(config.retries.first_pause)
        .with_max_backoff(config.retries.longest_pause);
    let mut builder = Config::builder();
    builder.set_endpoint_url(config.endpoint.clone());
    let builder = builder
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(config.region.clone()))
        .force_path_style(config.path_style)
        .http_client(http_client(config).await?)
        .timeout_config(time_limits(&config.deadlines))
        // Ranges and parts have deadlines of their own, and only those.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(retries)
        // The SDK's budget for tries is shared by the process and empties for good when a store
        // refuses a third of all calls for long. Ours is the number of tries and the pauses.
        .retry_partition(
            RetryPartition::custom("tonemill").token_bucket(TokenBucket::unlimited()).build(),
        )
        .retry_classifier(PassingAnswers)
        .interceptor(Latency)
        // Uploads bring their own checksums; downloads are verified by who knows the whole object.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    Ok(Client::from_conf(with_credentials(builder, config).await.build()))
}

pub fn time_limits(deadlines: &S3Deadlines) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(deadlines.connect)
        .operation_attempt_timeout(deadlines.attempt)
        .operation_timeout(deadlines.call)
        .build()
}

#[allow(clippy::unused_async, reason = "the standard chain has to ask around")]
async fn with_credentials(builder: Builder, config: &S3Config) -> Builder {
    match &config.credentials {
        S3Credentials::Static { access_key_id, secret_access_key, session_token } => builder
            .credentials_provider(Credentials::new(
                access_key_id,
                secret_access_key,
                session_token.clone(),
                None,
                "tonemill",
            )),
        #[cfg(feature = "aws-credentials")]
        S3Credentials::Standard => {
            let shared = aws_config::defaults(BehaviorVersion::latest())
                .region(Region::new(config.region.clone()))
                .http_client(system_http_client())
                .load()
                .await;
            match shared.credentials_provider() {
                Some(provider) => builder.credentials_provider(provider),
                None => builder,
            }
        }
    }
}

async fn http_client(config: &S3Config) -> Result<SharedHttpClient, BoxError> {
    let is_plain = config.endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
    // Reading the system's authorities takes a while, and fails where there are none.
    let mut trust = TrustStore::empty().with_native_roots(!is_plain);
    if let Some(path) = &config.ca_file {
        let pem = tokio::fs::read(path).await.map_err(|e| format!("{}: {e}", path.display()))?;
        if !pem.windows(MARK.len()).any(|window| window == MARK) {
            return Err(format!("{}: no certificate in it", path.display()).into());
        }
        trust = trust.with_pem_certificate(pem);
    }
    Ok(http_client_trusting(trust))
}

const MARK: &[u8] = b"-----BEGIN CERTIFICATE-----";

#[cfg(feature = "aws-credentials")]
fn system_http_client() -> SharedHttpClient {
    http_client_trusting(TrustStore::default())
}

/// It speaks plain HTTP as well.
fn http_client_trusting(trust: TrustStore) -> SharedHttpClient {
    let context = TlsContext::builder().with_trust_store(trust).build().expect("cannot fail");
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .build_https()
}

/// Tries again what the SDK does not, but may pass: damage on the way, conflicts with a writer that
/// is about to finish, and requests for patience from proxies.
#[derive(Debug)]
struct PassingAnswers;

impl ClassifyRetry for PassingAnswers {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response() {
            Some(response) if is_passing(response) => {
                RetryAction::retryable_error(ErrorKind::TransientError)
            }
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "passing answers"
    }
}

fn is_passing(response: &HttpResponse) -> bool {
    match response.status().as_u16() {
        409 | 429 => true,
        400 | 403 => response.body().bytes().is_some_and(|body| {
            let body = String::from_utf8_lossy(body);
            DAMAGED_ON_THE_WAY.iter().any(|code| body.contains(&format!("<Code>{code}</Code>")))
        }),
        _ => false,
    }
}

/// Counts the tries of a call.
///
/// A call that must not replace an object finds one if an earlier try made it and the answer got
/// lost; at the first try, it is somebody else's.
#[derive(Debug, Default, Clone)]
pub struct Tries(Arc<AtomicU32>);

impl Tries {
    pub fn are_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 1
    }
}

impl Intercept for Tries {
    fn name(&self) -> &'static str {
        "tries"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
