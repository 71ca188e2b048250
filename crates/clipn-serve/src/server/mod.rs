//! TCP listener: limits of connections, slow clients and graceful shutdown.
mod connection;
mod heads;
mod registry;
mod stream;

use std::fmt;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use clipn::detector::Detector;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::api::{App, router};
use crate::bundles::{ServedBundle, ServedModel};
use crate::classes::ClassEncoder;
use crate::{ServeError, ServeSettings};
use registry::Registry;

/// Delay after a failed `accept`, for example when the process is out of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Polling interval of the `stop` closure in [`Server::run_until`].
const SHUTDOWN_POLL: Duration = Duration::from_millis(25);

/// Number of connections beyond the limit that get a refusal at a time. Others are closed without
/// one.
const MAX_REFUSALS: usize = 64;

/// Time that a new connection waits for the place of one that is being closed.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(1);

/// HTTP server that is bound to its address, with workers running.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
    runtime: Runtime,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .field("bundles", &self.app.bundle_names())
            .field("settings", &self.app.settings)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Binds the address and starts the workers for one detector, as the bundle `default`.
    ///
    /// `model` is the model name in responses. With an `encoder`, requests may use custom classes;
    /// without one, only the detector's own.
    ///
    /// # Errors
    /// - [`ServeError::InvalidSetting`] if a setting is out of range.
    /// - [`ServeError::Bind`] if the address is not available.
    /// - [`ServeError::SpawnThreads`] if threads cannot be started.
    pub fn bind(
        settings: ServeSettings,
        detector: Detector,
        model: impl Into<String>,
        encoder: Option<ClassEncoder>,
    ) -> Result<Self, ServeError> {
        let model = ServedModel::new(detector, model).with_encoder(encoder);
        Self::bind_bundles(settings, vec![ServedBundle::new("default", model)])
    }

    /// Binds the address and starts the workers for several bundles.
    ///
    /// `/v1/bundles/NAME/classify` and so on answer with the bundle NAME, and `/v1/classify` with the
    /// first one. Bundles whose detectors share their image tower are computed in common batches.
    ///
    /// # Errors
    /// Same as [`bind`](Self::bind); [`ServeError::InvalidSetting`] also if there are no bundles, or if
    /// a name is invalid or given twice.
    pub fn bind_bundles(
        settings: ServeSettings,
        bundles: Vec<ServedBundle>,
    ) -> Result<Self, ServeError> {
        settings.check()?;
        let requested = SocketAddr::new(settings.host, settings.port);
        let bind_error = |source| ServeError::Bind {
            address: requested,
            source,
        };
        let listener = TcpListener::bind(requested).map_err(bind_error)?;
        listener.set_nonblocking(true).map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(settings.workers.clamp(2, 8))
            // One per decoder, one for the text towers, one for changed bundles, one spare.
            .max_blocking_threads(settings.workers + 3)
            .thread_name("clipn-http")
            .enable_io()
            .enable_time()
            .build();
        let failed = |error: std::io::Error| ServeError::SpawnThreads {
            what: "the HTTP threads",
            reason: error.to_string(),
        };
        let runtime = runtime.map_err(failed)?;
        let app = App::start(settings, bundles)?;
        Ok(Self {
            app: Arc::new(app),
            listener,
            address,
            runtime,
        })
    }

    /// Address that the server listens on, with the port that was selected.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Same as [`run`](Self::run), but shuts down when `stop` returns true. It is polled every 25
    /// ms.
    ///
    /// # Errors
    /// Same as [`run`](Self::run).
    pub fn run_until(self, stop: impl Fn() -> bool) -> Result<bool, ServeError> {
        self.run(async move {
            while !stop() {
                tokio::time::sleep(SHUTDOWN_POLL).await;
            }
        })
    }

    /// Serves requests until `stop` completes, then shuts down gracefully.
    ///
    /// No new connections are accepted, and requests in progress get
    /// [`shutdown_grace`](ServeSettings::shutdown_grace) to finish. Returns whether all of them did.
    ///
    /// # Errors
    /// [`ServeError::Bind`] if the socket cannot be registered with the async runtime.
    pub fn run(self, stop: impl Future<Output = ()>) -> Result<bool, ServeError> {
        let Self {
            app,
            listener,
            address,
            runtime,
        } = self;
        let finished = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)
                .map_err(|source| ServeError::Bind { address, source })?;
            Ok(serve_until(&app, listener, address, stop).await)
        });
        app.close();
        // A stuck decoder must not keep the process from exiting.
        runtime.shutdown_timeout(Duration::from_millis(100));
        finished
    }
}

async fn serve_until(
    app: &Arc<App>,
    listener: tokio::net::TcpListener,
    address: SocketAddr,
    stop: impl Future<Output = ()>,
) -> bool {
    let (stopping, stopped) = watch::channel(false);
    let mut connections = Connections {
        app: Arc::clone(app),
        router: router(app),
        permits: Arc::new(Semaphore::new(app.settings.max_connections)),
        registry: Arc::new(Registry::default()),
        stopped,
        tasks: JoinSet::new(),
    };
    let mut stop = std::pin::pin!(stop);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        %address,
        model = app.bundles.default().current().model,
        bundles = app.bundle_names(),
        "listening"
    );
    let watching = tokio::spawn(watch_bundles(Arc::clone(app)));
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => connections.accept(stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connection");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
            Some(_) = connections.tasks.join_next() => {}
        }
    }
    app.begin_shutdown();
    watching.abort();
    // Close the socket, so that the operating system refuses new connections.
    drop(listener);
    let mut connections = connections.tasks;
    tracing::info!(
        open = connections.len(),
        "shutting down; no new connections"
    );
    // Fails only if there are no connections left to notify.
    let _ = stopping.send(true);
    let finish = async { while connections.join_next().await.is_some() {} };
    let finished = timeout(app.settings.shutdown_grace, finish).await.is_ok();
    if !finished {
        tracing::warn!(
            open = connections.len(),
            "grace period expired; aborting connections"
        );
    }
    connections.abort_all();
    tracing::info!("stopped");
    finished
}

/// Polls the files of bundles until it is aborted.
async fn watch_bundles(app: Arc<App>) {
    let interval = app.settings.reload_interval;
    if interval.is_zero() {
        return;
    }
    loop {
        tokio::time::sleep(interval).await;
        let app = Arc::clone(&app);
        // An error means that opening a bundle panicked, which the panic hook has reported.
        let _ = tokio::task::spawn_blocking(move || app.watch_bundles()).await;
    }
}

/// Open connections, one task each.
struct Connections {
    app: Arc<App>,
    router: Router,
    /// One permit per connection that is served.
    permits: Arc<Semaphore>,
    registry: Arc<Registry>,
    /// Whether the server is shutting down.
    stopped: watch::Receiver<bool>,
    tasks: JoinSet<()>,
}

impl Connections {
    /// Serves a connection. If the limit is reached, it takes the place of one whose client does not
    /// read or sends nothing, or is refused.
    fn accept(&mut self, stream: TcpStream, peer: SocketAddr) {
        let limit = self.app.settings.connections_per_address();
        let Some(connection) = self.registry.add(peer.ip(), limit) else {
            self.refuse(stream);
            return;
        };
        let permits = Arc::clone(&self.permits);
        let permit = permits.try_acquire_owned().ok();
        if permit.is_none() && !self.registry.close_slowest() {
            drop(connection);
            self.refuse(stream);
            return;
        }
        let (app, router) = (Arc::clone(&self.app), self.router.clone());
        let (permits, stopped) = (Arc::clone(&self.permits), self.stopped.clone());
        self.tasks.spawn(async move {
            let permit = match permit {
                Some(permit) => permit,
                // That of the connection that is being closed.
                None => match timeout(PERMIT_TIMEOUT, permits.acquire_owned()).await {
                    Ok(Ok(permit)) => permit,
                    _ => {
                        app.metrics.connections_refused.inc();
                        connection::refuse(stream).await;
                        return;
                    }
                },
            };
            connection::serve(app, router, stream, peer, connection, stopped).await;
            drop(permit);
        });
    }

    /// Refuses a connection with a response, or without one if too many are being refused.
    fn refuse(&mut self, stream: TcpStream) {
        self.app.metrics.connections_refused.inc();
        if self.tasks.len() < self.app.settings.max_connections + MAX_REFUSALS {
            self.tasks.spawn(connection::refuse(stream));
        }
    }
}
