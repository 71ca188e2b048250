//! TCP listener: connection limit and graceful shutdown.
mod connection;

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use clipn::detector::Detector;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::api::{App, router};
use crate::classes::{ClassEncoder, Classes};
use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::{ServeError, ServeSettings};

/// Delay after a failed `accept`, for example when the process is out of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Polling interval of the `stop` closure in [`Server::run_until`].
const SHUTDOWN_POLL: Duration = Duration::from_millis(25);

/// Socket address of a request's client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// HTTP server that is bound to its address, with workers running.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
    runtime: Runtime,
}

impl Server {
    /// Binds the address and starts the workers.
    ///
    /// `model` is the model name in responses. With an `encoder`, requests may use custom classes;
    /// without one, only the detector's own.
    ///
    /// # Errors
    /// - [`ServeError::Setting`] if a setting is out of range.
    /// - [`ServeError::Bind`] if the address is not available.
    /// - [`ServeError::Threads`] if threads cannot be started.
    pub fn bind(
        settings: ServeSettings,
        detector: Detector,
        model: impl Into<String>,
        encoder: Option<ClassEncoder>,
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
            // One per decoder, one for the text towers, one spare.
            .max_blocking_threads(settings.workers + 2)
            .thread_name("clipn-http")
            .enable_io()
            .enable_time()
            .build();
        let failed = |error: std::io::Error| ServeError::Threads {
            what: "the HTTP threads",
            reason: error.to_string(),
        };
        let runtime = runtime.map_err(failed)?;
        let model = model.into();
        let probability = !matches!(
            detector.score_name(),
            "maxlogit" | "energy" | "energy-handcrafted"
        );
        let metrics = Arc::new(Metrics::new(&model, probability));
        let engine = Engine::start(&settings, &detector, Arc::clone(&metrics))?;
        let classes = Arc::new(Classes::new(detector.classifier(), encoder));
        let app = App::new(settings, detector, model, engine, classes, metrics);
        Ok(Self {
            app: Arc::new(app),
            listener,
            address,
            runtime,
        })
    }

    /// Address that the server listens on, with the port that was selected.
    pub fn address(&self) -> SocketAddr {
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
    /// [`grace`](ServeSettings::grace) to finish. Returns whether all of them did.
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
            Ok(serve_until(&app, listener, stop).await)
        });
        app.engine.close();
        // A stuck decoder must not keep the process from exiting.
        runtime.shutdown_timeout(Duration::from_millis(100));
        finished
    }
}

async fn serve_until(
    app: &Arc<App>,
    listener: tokio::net::TcpListener,
    stop: impl Future<Output = ()>,
) -> bool {
    let (stopping, stopped) = watch::channel(false);
    let router = router(app);
    let mut connections = JoinSet::new();
    let permits = Arc::new(Semaphore::new(app.settings.max_connections));
    let mut stop = std::pin::pin!(stop);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        model = app.model,
        "listening"
    );
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    accept(app, &mut connections, &permits, &router, stopped.clone(), stream, peer);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connection");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    app.stopping.store(true, Ordering::SeqCst);
    // Close the socket, so that the operating system refuses new connections.
    drop(listener);
    tracing::info!(
        open = connections.len(),
        "shutting down; no new connections"
    );
    // Fails only if there are no connections left to notify.
    let _ = stopping.send(true);
    let finish = async { while connections.join_next().await.is_some() {} };
    let finished = tokio::time::timeout(app.settings.grace, finish)
        .await
        .is_ok();
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

fn accept(
    app: &Arc<App>,
    connections: &mut JoinSet<()>,
    permits: &Arc<Semaphore>,
    router: &Router,
    stopped: watch::Receiver<bool>,
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
) {
    match Arc::clone(permits).try_acquire_owned() {
        Ok(permit) => {
            let serve = connection::serve(Arc::clone(app), router.clone(), stream, peer, stopped);
            connections.spawn(async move {
                serve.await;
                drop(permit);
            });
        }
        Err(_) => {
            app.metrics.connections_refused.inc();
            // At most 64 connections get a refusal at a time; others are closed without one.
            if connections.len() < app.settings.max_connections + 64 {
                connections.spawn(connection::refuse(stream));
            }
        }
    }
}

impl App {
    fn new(
        settings: ServeSettings,
        detector: Detector,
        model: String,
        engine: Engine,
        classes: Arc<Classes>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let bodies = crate::api::BodyLimits::new(
            settings.max_request_bytes,
            settings.body_budget(),
            settings.read_timeout,
        );
        Self {
            settings,
            detector,
            model,
            engine,
            classes,
            metrics,
            bodies,
            request_ids: crate::api::RequestIds::new(),
            stopping: AtomicBool::new(false),
            text_slot: crate::api::TextSlot::default(),
        }
    }
}
