//! Pictures and archives at `s3://`, `gs://` and `https://`. Credentials, region and endpoint come from the variables of
//! the clouds' own programs (`AWS_…`, `GOOGLE_…`). A request that fails is made again, and a transfer that breaks off goes
//! on where it broke, where the server can do that.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clipn::dataset::{Content, NamedPicture, ShardPictures, is_image_name, is_shard_name};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{
    ClientConfigKey, ClientOptions, Error, GetOptions, ObjectMeta, ObjectStore, RetryConfig,
};
use tokio::runtime::Runtime;

use super::places::{read_limited, without_query};
use super::{Place, Places};
use crate::common::interrupt;

/// How long a server may be silent.
const PATIENCE: &str = "60 seconds";

/// How long a transfer may take as a whole; only silence ends one.
const WHOLE: &str = "7 days";

/// How often it is looked whether the user wants to stop.
const LOOK: Duration = Duration::from_millis(200);

type Stream<T> = BoxStream<'static, object_store::Result<T>>;

/// The clients of every server that was asked.
#[derive(Clone)]
pub struct Remote(Arc<Inner>);

struct Inner {
    runtime: Runtime,
    /// The client of all plain addresses, so that connections are used again.
    web: HttpClient,
    buckets: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

/// Gives every store the same client.
#[derive(Debug)]
struct Shared(HttpClient);

impl HttpConnector for Shared {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.0.clone())
    }
}

/// An object: where it is kept, and its key there.
struct Object {
    store: Arc<dyn ObjectStore>,
    key: Path,
}

impl Remote {
    pub fn open() -> Result<Self, String> {
        // Fails where there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        let runtime =
            runtime.map_err(|e| format!("cannot start the threads of the network: {e}"))?;
        let options = ClientOptions::new()
            .with_allow_http(true)
            .with_config(ClientConfigKey::Timeout, WHOLE)
            .with_config(ClientConfigKey::ReadTimeout, PATIENCE);
        let web = {
            let _inside = runtime.enter();
            ReqwestConnector::default().connect(&options)
        };
        let web = web.map_err(|e| format!("cannot make a client of the network: {e}"))?;
        Ok(Self(Arc::new(Inner {
            runtime,
            web,
            buckets: Mutex::default(),
        })))
    }

    /// What lies below an address of a bucket or of a prefix, which ends in `/`; `None` for that of an object.
    pub fn prefix(&self, address: &str) -> Result<Option<Places>, String> {
        let Some((scheme, rest)) = address.split_once("://") else {
            return Ok(None);
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if !matches!(scheme, "s3" | "gs") {
            return match scheme {
                "https" | "http" if !without_query(address).ends_with('/') => Ok(None),
                "https" | "http" => Err(format!(
                    "{} names no file: only s3:// and gs:// can be listed, so name the files one by one",
                    without_query(address)
                )),
                _ => Err(unknown(address)),
            };
        }
        if !key.is_empty() && !key.ends_with('/') {
            return Ok(None);
        }
        let store = self.bucket(scheme, bucket)?;
        let prefix = Path::parse(key).map_err(|e| e.to_string())?;
        let listing = {
            let _inside = self.0.runtime.enter();
            store.list(Some(&prefix))
        };
        Ok(Some(Box::new(Listing {
            remote: self.clone(),
            root: format!("{scheme}://{bucket}"),
            address: address.to_owned(),
            listing: Some(listing),
            given: 0,
        })))
    }

    /// The picture or the archive at an address.
    pub fn place(&self, address: &str) -> Place {
        let (remote, owned) = (self.clone(), address.to_owned());
        let name = without_query(address).to_owned();
        let open = move || remote.read(&owned);
        if is_shard_name(&name) {
            return Place::Archive(Box::new(ShardPictures::from_reader(name, open)));
        }
        let content = Content::Fetch(Box::new(move || read_limited(open()?)));
        Place::Picture(NamedPicture { name, content })
    }

    fn read(&self, address: &str) -> io::Result<Reader> {
        let Object { store, key } = self.object(address).map_err(io::Error::other)?;
        let got = self.wait(store.get_opts(&key, GetOptions::default()))?;
        let stream = got.map_err(|error| told(&error, address))?.into_stream();
        Ok(Reader {
            remote: self.clone(),
            address: address.to_owned(),
            stream,
            chunk: io::Cursor::default(),
        })
    }

    fn object(&self, address: &str) -> Result<Object, String> {
        let Some((scheme, rest)) = address.split_once("://") else {
            return Err(unknown(address));
        };
        match scheme {
            "s3" | "gs" => {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                let key = Path::parse(key).map_err(|e| e.to_string())?;
                Ok(Object {
                    store: self.bucket(scheme, bucket)?,
                    key,
                })
            }
            "http" | "https" => {
                // The address is taken as it is, so that signatures behind a question mark stay what they are.
                let store = HttpBuilder::new()
                    .with_url(address)
                    .with_retry(retries())
                    .with_http_connector(Shared(self.0.web.clone()))
                    .build();
                let store =
                    store.map_err(|e| e.to_string().replace(address, without_query(address)))?;
                Ok(Object {
                    store: Arc::new(store),
                    key: Path::default(),
                })
            }
            _ => Err(unknown(address)),
        }
    }

    fn bucket(&self, scheme: &str, bucket: &str) -> Result<Arc<dyn ObjectStore>, String> {
        let mut buckets = self
            .0
            .buckets
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let name = format!("{scheme}://{bucket}");
        if let Some(store) = buckets.get(&name) {
            return Ok(Arc::clone(store));
        }
        let _inside = self.0.runtime.enter();
        let store: object_store::Result<Arc<dyn ObjectStore>> = if scheme == "s3" {
            s3(bucket).map(|store| Arc::new(store) as _)
        } else {
            gs(bucket).map(|store| Arc::new(store) as _)
        };
        let store = store.map_err(|error| format!("{name}: {error}"))?;
        buckets.insert(name, Arc::clone(&store));
        Ok(store)
    }

    /// Waits for the network, or until the user wants to stop.
    fn wait<T>(&self, work: impl Future<Output = T>) -> io::Result<T> {
        self.0.runtime.block_on(async {
            let mut work = pin!(work);
            loop {
                if let Ok(done) = tokio::time::timeout(LOOK, &mut work).await {
                    return Ok(done);
                }
                if interrupt::requested() {
                    return Err(io::Error::other("interrupted"));
                }
            }
        })
    }
}

fn s3(bucket: &str) -> object_store::Result<impl ObjectStore> {
    let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
    let endpoint = endpoint
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .unwrap_or_default();
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_retry(retries())
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), WHOLE)
        .with_config(
            AmazonS3ConfigKey::Client(ClientConfigKey::ReadTimeout),
            PATIENCE,
        );
    if endpoint.starts_with("http://") {
        builder = builder.with_config(
            AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp),
            "true",
        );
    }
    builder.build()
}

fn gs(bucket: &str) -> object_store::Result<impl ObjectStore> {
    let endpoint = std::env::var("GOOGLE_BASE_URL").unwrap_or_default();
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(bucket)
        .with_retry(retries())
        .with_config(GoogleConfigKey::Client(ClientConfigKey::Timeout), WHOLE)
        .with_config(
            GoogleConfigKey::Client(ClientConfigKey::ReadTimeout),
            PATIENCE,
        );
    if endpoint.starts_with("http://") {
        builder = builder.with_config(GoogleConfigKey::Client(ClientConfigKey::AllowHttp), "true");
    }
    builder.build()
}

fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: 5,
        retry_timeout: Duration::from_secs(120),
        ..RetryConfig::default()
    }
}

fn unknown(address: &str) -> String {
    format!(
        "{}: only s3://, gs://, https:// and http:// addresses are read",
        without_query(address)
    )
}

/// What went wrong, without what stands behind a question mark of the address.
fn told(error: &Error, address: &str) -> io::Error {
    let message = match error {
        Error::NotFound { .. } => "there is no such object".to_owned(),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            "the server does not let this user read it: check the credentials".to_owned()
        }
        other => other.to_string(),
    };
    let message = match address.split_once('?') {
        Some((_, query)) if !query.is_empty() => message.replace(query, "…"),
        _ => message,
    };
    io::Error::other(message)
}

/// The bytes of an object as they come; no more are asked for than are read.
struct Reader {
    remote: Remote,
    address: String,
    stream: Stream<bytes::Bytes>,
    chunk: io::Cursor<bytes::Bytes>,
}

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.chunk.read(out)?;
            if count > 0 || out.is_empty() {
                return Ok(count);
            }
            match self.remote.wait(self.stream.next())? {
                Some(Ok(chunk)) => self.chunk = io::Cursor::new(chunk),
                Some(Err(error)) => return Err(told(&error, &self.address)),
                None => return Ok(0),
            }
        }
    }
}

/// What lies below a prefix, page by page.
struct Listing {
    remote: Remote,
    /// `s3://bucket`.
    root: String,
    address: String,
    listing: Option<Stream<ObjectMeta>>,
    given: u64,
}

impl Iterator for Listing {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        loop {
            let listing = self.listing.as_mut()?;
            let error = match self.remote.wait(listing.next()) {
                Ok(Some(Ok(object))) => {
                    let name = object.location.filename().unwrap_or_default();
                    if is_image_name(OsStr::new(name)) || is_shard_name(name) {
                        self.given += 1;
                        return Some(
                            self.remote
                                .place(&format!("{}/{}", self.root, object.location)),
                        );
                    }
                    continue;
                }
                Ok(Some(Err(error))) => told(&error, &self.address),
                Ok(None) if self.given == 0 => {
                    io::Error::other("no picture and no archive lies below it")
                }
                Ok(None) => {
                    self.listing = None;
                    return None;
                }
                Err(error) => error,
            };
            self.listing = None;
            return Some(Place::Picture(NamedPicture::lost(
                self.address.as_str(),
                error,
            )));
        }
    }
}
