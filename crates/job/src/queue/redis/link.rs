//! One connection to Redis, wherever it is: made when it is needed, given up at the first sign of
//! trouble, made again after a pause that grows. Knows for how long it has been up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisFuture,
    ScriptInvocation, ServerErrorKind, Value,
};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::address::Address;
use crate::queue::{QueueError, QueueErrorKind};

/// Longest time to make a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Pauses between attempts to connect start here and double, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Times that a request is sent, if it may be repeated.
const TRIES: u32 = 3;

/// What can be sent.
pub(super) enum Request<'a> {
    Command(&'a Cmd),
    /// A command that waits inside Redis for as long.
    Wait(&'a Cmd, Duration),
    Script(&'a ScriptInvocation<'a>),
    /// Several commands, which are done one by one.
    Pipe(&'a Pipeline),
}

#[derive(Clone)]
enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A connection that comes back.
pub(super) struct Link {
    address: Address,
    /// Longest time to wait for an answer.
    patience: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    /// Attempts in vain, in a row.
    failures: u32,
    not_before: Option<Instant>,
}

#[derive(Clone)]
struct Open {
    connection: Connection,
    since: Instant,
}

impl Link {
    pub(super) fn new(address: Address, patience: Duration) -> Self {
        Self { address, patience, state: Arc::default() }
    }

    /// Sends a request and waits for its answer; again, on another connection, if this one breaks
    /// or is silent. For requests that may be done twice.
    pub(super) async fn send<T: FromRedisValue>(
        &self,
        operation: &'static str,
        request: Request<'_>,
    ) -> Result<T, QueueError> {
        for _ in 1..TRIES {
            match self.try_once(operation, &request).await {
                Err(error) if error.kind == QueueErrorKind::Unavailable => {}
                outcome => return outcome,
            }
        }
        self.try_once(operation, &request).await
    }

    /// Sends a request that must not be done twice, and waits for its answer.
    pub(super) async fn send_once<T: FromRedisValue>(
        &self,
        operation: &'static str,
        request: Request<'_>,
    ) -> Result<T, QueueError> {
        self.try_once(operation, &request).await
    }

    async fn try_once<T: FromRedisValue>(
        &self,
        operation: &'static str,
        request: &Request<'_>,
    ) -> Result<T, QueueError> {
        let Open { mut connection, since } = self.open(operation).await?;
        let patience = match request {
            Request::Wait(_, wait) => self.patience + *wait,
            _ => self.patience,
        };
        let answer = timeout(patience, async {
            match request {
                Request::Command(command) | Request::Wait(command, _) => {
                    command.query_async(&mut connection).await
                }
                Request::Script(script) => script.invoke_async(&mut connection).await,
                Request::Pipe(commands) => commands.query_async(&mut connection).await,
            }
        });
        let started = Instant::now();
        let answer = answer.await;
        if !matches!(request, Request::Wait(..)) {
            let name = "tonemill_redis_call_duration_seconds";
            metrics::histogram!(name, "operation" => operation).record(started.elapsed());
        }
        self.judge(operation, since, answer).await
    }

    /// Whether it leads to several servers.
    pub(super) fn is_to_cluster(&self) -> bool {
        matches!(self.address, Address::Cluster(_))
    }

    /// For how long the connection has been up.
    pub(super) async fn up_for(&self) -> Duration {
        let state = self.state.lock().await;
        state.open.as_ref().map_or(Duration::ZERO, |open| open.since.elapsed())
    }

    async fn open(&self, operation: &'static str) -> Result<Open, QueueError> {
        let mut state = self.state.lock().await;
        if let Some(open) = &state.open {
            return Ok(open.clone());
        }
        if let Some(wait) = state.not_before.and_then(|t| t.checked_duration_since(Instant::now()))
        {
            tokio::time::sleep(wait).await;
        }
        let made = timeout(CONNECT, self.connect());
        let made = made.await.unwrap_or_else(|_| Err(RedisError::from(too_slow("connecting"))));
        match made {
            Ok(connection) => {
                let open = Open { connection, since: Instant::now() };
                *state = State { open: Some(open.clone()), failures: 0, not_before: None };
                Ok(open)
            }
            Err(error) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << state.failures.min(10));
                let pause = pause.min(LONGEST_PAUSE).mul_f64(0.5 + fastrand::f64() / 2.0);
                state.failures += 1;
                state.not_before = Some(Instant::now() + pause);
                Err(queue_error(operation, error, false))
            }
        }
    }

    async fn connect(&self) -> Result<Connection, RedisError> {
        // Answers are awaited with a limit of our own, which a blocking command extends.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        Ok(match &self.address {
            Address::Server(client) => Connection::Server(
                client.get_multiplexed_async_connection_with_config(&config).await?,
            ),
            Address::Sentinel(client) => {
                let mut client = client.lock().await;
                Connection::Server(client.get_async_connection_with_config(&config).await?)
            }
            Address::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        })
    }

    async fn judge<T>(
        &self,
        operation: &'static str,
        since: Instant,
        answer: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
    ) -> Result<T, QueueError> {
        let error = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => RedisError::from(too_slow("answering")),
        };
        if breaks_connection(&error) {
            let mut state = self.state.lock().await;
            if state.open.as_ref().is_some_and(|open| open.since == since) {
                state.open = None;
            }
        }
        let answered = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
        Err(queue_error(operation, error, !answered))
    }
}

fn too_slow(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, format!("Redis takes too long {what}"))
}

/// Whether another connection may do better: this one is broken, or leads to a server that is not,
/// or not any more, the one that takes writes.
fn breaks_connection(error: &RedisError) -> bool {
    let server_is_no_master = matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::BusyLoading
        )
    );
    error.is_io_error() || error.is_unrecoverable_error() || server_is_no_master
}

pub(super) fn queue_error(
    operation: &'static str,
    error: RedisError,
    ambiguous: bool,
) -> QueueError {
    // A script that its user may not run to the end says so in words alone.
    let says = |words: &str| error.detail().is_some_and(|detail| detail.contains(words));
    let kind = match (error.kind(), error.code()) {
        _ if says("The user executing the script") => QueueErrorKind::Refused,
        (_, Some("OOM")) => QueueErrorKind::Full,
        // It cannot write, has too few replicas, or is busy with a script: for now.
        (_, Some("MISCONF" | "NOREPLICAS" | "BUSY")) => QueueErrorKind::Unavailable,
        (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
        | (ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig, _) => {
            QueueErrorKind::Refused
        }
        (
            ErrorKind::Parse
            | ErrorKind::UnexpectedReturnType
            | ErrorKind::Client
            | ErrorKind::Server(ServerErrorKind::ResponseError)
            | ErrorKind::Extension,
            _,
        ) => QueueErrorKind::Invalid,
        _ => QueueErrorKind::Unavailable,
    };
    QueueError { kind, operation, ambiguous, source: Box::new(error) }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(commands, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
