//! The socket: connections with their limits, and an orderly end.
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

/// How long to wait where the system refuses another connection, as when there are no file handles left.
const AFTER_A_REFUSAL: Duration = Duration::from_millis(100);

/// How often the wish to stop is looked for.
const LOOK: Duration = Duration::from_millis(25);

/// Who a request came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// A server that listens and is ready to run.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
    runtime: Runtime,
}

impl Server {
    /// Listens, and starts the workers. `model` is what answers call the model; with `encoder`, requests may name classes
    /// of their own.
    ///
    /// # Errors
    /// A setting cannot be, the address cannot be had, or threads cannot be started.
    pub fn bind(
        settings: ServeSettings,
        detector: Detector,
        model: impl Into<String>,
        encoder: Option<ClassEncoder>,
    ) -> Result<Self, ServeError> {
        settings.check()?;
        let wanted = SocketAddr::new(settings.host, settings.port);
        let bound = |source| ServeError::Bind {
            address: wanted,
            source,
        };
        let listener = TcpListener::bind(wanted).map_err(bound)?;
        listener.set_nonblocking(true).map_err(bound)?;
        let address = listener.local_addr().map_err(bound)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(settings.workers.clamp(2, 8))
            // Decoders, and the text towers' one.
            .max_blocking_threads(settings.workers + 2)
            .thread_name("clipn-http")
            .enable_io()
            .enable_time()
            .build();
        let failed = |error: std::io::Error| ServeError::Threads {
            what: "the server",
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As [`run`](Self::run), until `stop` says so, which is asked many times a second.
    ///
    /// # Errors
    /// As there.
    pub fn run_until(self, stop: impl Fn() -> bool) -> Result<bool, ServeError> {
        self.run(async move {
            while !stop() {
                tokio::time::sleep(LOOK).await;
            }
        })
    }

    /// Answers until `stop` is ready; then takes no more connections, and gives the requests in work the grace time.
    /// Returns whether all of them were answered.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn run(self, stop: impl Future<Output = ()>) -> Result<bool, ServeError> {
        let Self {
            app,
            listener,
            address,
            runtime,
        } = self;
        let all_answered = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)
                .map_err(|source| ServeError::Bind { address, source })?;
            Ok(answer_until(&app, listener, stop).await)
        });
        app.engine.close();
        // A decoder or a worker that is stuck must not keep the program from ending.
        runtime.shutdown_timeout(Duration::from_millis(100));
        all_answered
    }
}

async fn answer_until(
    app: &Arc<App>,
    listener: tokio::net::TcpListener,
    stop: impl Future<Output = ()>,
) -> bool {
    let (stopping, stopped) = watch::channel(false);
    let router = router(app);
    let mut connections = JoinSet::new();
    let places = Arc::new(Semaphore::new(app.settings.max_connections));
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
                    accept(app, &mut connections, &places, &router, stopped.clone(), stream, peer);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was refused by the system");
                    tokio::time::sleep(AFTER_A_REFUSAL).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    app.stopping.store(true, Ordering::SeqCst);
    // Nobody listens any more: whoever connects now is told so by the system.
    drop(listener);
    tracing::info!(open = connections.len(), "stopping; no new connections");
    // The other end is held by the connections alone.
    let _ = stopping.send(true);
    let finish = async { while connections.join_next().await.is_some() {} };
    let all_answered = tokio::time::timeout(app.settings.grace, finish)
        .await
        .is_ok();
    if !all_answered {
        tracing::warn!(
            open = connections.len(),
            "the grace time is over; connections are cut"
        );
    }
    connections.abort_all();
    tracing::info!("stopped");
    all_answered
}

fn accept(
    app: &Arc<App>,
    connections: &mut JoinSet<()>,
    places: &Arc<Semaphore>,
    router: &Router,
    stopped: watch::Receiver<bool>,
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
) {
    match Arc::clone(places).try_acquire_owned() {
        Ok(place) => {
            let serve = connection::serve(Arc::clone(app), router.clone(), stream, peer, stopped);
            connections.spawn(async move {
                serve.await;
                drop(place);
            });
        }
        Err(_) => {
            app.metrics.connections_refused.inc();
            // Beyond the limit of those that wait to be told, the connection is just closed.
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
            texts: crate::api::Texts::default(),
        }
    }
}
