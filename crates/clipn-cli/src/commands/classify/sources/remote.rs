//! Images and archives at `s3://`, `gs://` and `https://`. Credentials, region and endpoint come
//! from the environment variables of the cloud vendors (`AWS_…`, `GOOGLE_…`). Failed requests are
//! retried, and interrupted transfers resume if the server supports it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clipn::dataset::{
    ArchiveImages, ImageContent, NameKind, NamedImage, SkippedFiles, is_archive_name,
};
use clipn::image::{IMAGE_START_BYTES, is_image_start};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{
    ClientConfigKey, ClientOptions, Error, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt,
    RetryConfig,
};
use tokio::runtime::Runtime;

use super::items::{read_limited, without_query};
use super::{SharedSkippedFiles, SourceItem, SourceItems};
use crate::common::interrupt;

/// Timeout of a server that sends nothing.
const READ_TIMEOUT: &str = "60 seconds";

/// Timeout of a whole transfer, long enough that only [`READ_TIMEOUT`] ends one.
const TRANSFER_TIMEOUT: &str = "7 days";

/// Polling interval of the interrupt flag.
const INTERRUPT_POLL: Duration = Duration::from_millis(200);

type Stream<T> = BoxStream<'static, object_store::Result<T>>;

/// Clients of all servers in use; cheap to clone.
#[derive(Clone)]
pub(crate) struct Remote(Arc<Inner>);

struct Inner {
    runtime: Runtime,
    /// Client of all plain URLs, which reuses connections.
    http: HttpClient,
    buckets: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

/// Connector that gives every store the same client.
#[derive(Debug)]
struct SharedClient(HttpClient);

impl HttpConnector for SharedClient {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.0.clone())
    }
}

/// An object in a store.
struct Object {
    store: Arc<dyn ObjectStore>,
    key: Path,
}

impl Remote {
    pub(crate) fn open() -> Result<Self, String> {
        // Fails if a provider is installed already, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        let runtime = runtime.map_err(|e| format!("cannot start network threads: {e}"))?;
        let options = ClientOptions::new()
            .with_allow_http(true)
            .with_config(ClientConfigKey::Timeout, TRANSFER_TIMEOUT)
            .with_config(ClientConfigKey::ReadTimeout, READ_TIMEOUT);
        let http = {
            let _inside = runtime.enter();
            ReqwestConnector::default().connect(&options)
        };
        let http = http.map_err(|e| format!("cannot create an HTTP client: {e}"))?;
        Ok(Self(Arc::new(Inner {
            runtime,
            http,
            buckets: Mutex::default(),
        })))
    }

    /// Lists the items below the URL of a bucket, or of a prefix, which ends in `/`. `None` for the
    /// URL of an object.
    /// Objects that are no images are counted in `skipped`.
    pub(crate) fn prefix(
        &self,
        url: &str,
        skipped: &SharedSkippedFiles,
    ) -> Result<Option<SourceItems>, String> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Ok(None);
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if !matches!(scheme, "s3" | "gs") {
            return match scheme {
                "https" | "http" if !without_query(url).ends_with('/') => Ok(None),
                "https" | "http" => Err(format!(
                    "{} is not a file, and only s3:// and gs:// can be listed: give the URL of each file",
                    without_query(url)
                )),
                _ => Err(unsupported(url)),
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
            store,
            skipped: skipped.clone(),
            root: format!("{scheme}://{bucket}"),
            url: url.to_owned(),
            listing: Some(listing),
            yielded: 0,
        })))
    }

    /// The image or archive at a URL.
    pub(crate) fn item(&self, url: &str) -> SourceItem {
        let (remote, owned) = (self.clone(), url.to_owned());
        let name = without_query(url).to_owned();
        let open = move || remote.read(&owned);
        if is_archive_name(&name) {
            return SourceItem::Archive(Box::new(ArchiveImages::from_reader(name, open)));
        }
        let content = ImageContent::Fetch(Box::new(move || read_limited(open()?)));
        SourceItem::Image(NamedImage { name, content })
    }

    fn read(&self, url: &str) -> io::Result<Reader> {
        let Object { store, key } = self.object(url).map_err(io::Error::other)?;
        let got = self.wait(store.get_opts(&key, GetOptions::default()))?;
        let stream = got
            .map_err(|error| without_secrets(&error, url))?
            .into_stream();
        Ok(Reader {
            remote: self.clone(),
            url: url.to_owned(),
            stream,
            chunk: io::Cursor::default(),
        })
    }

    fn object(&self, url: &str) -> Result<Object, String> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(unsupported(url));
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
                // The URL stays unchanged: its query may be a signature.
                let store = HttpBuilder::new()
                    .with_url(url)
                    .with_retry(retries())
                    .with_http_connector(SharedClient(self.0.http.clone()))
                    .build();
                let store = store.map_err(|e| e.to_string().replace(url, without_query(url)))?;
                Ok(Object {
                    store: Arc::new(store),
                    key: Path::default(),
                })
            }
            _ => Err(unsupported(url)),
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

    /// Waits for the network, or for an interrupt.
    fn wait<T>(&self, work: impl Future<Output = T>) -> io::Result<T> {
        self.0.runtime.block_on(async {
            let mut work = pin!(work);
            loop {
                if let Ok(done) = tokio::time::timeout(INTERRUPT_POLL, &mut work).await {
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
        .with_config(
            AmazonS3ConfigKey::Client(ClientConfigKey::Timeout),
            TRANSFER_TIMEOUT,
        )
        .with_config(
            AmazonS3ConfigKey::Client(ClientConfigKey::ReadTimeout),
            READ_TIMEOUT,
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
        .with_config(
            GoogleConfigKey::Client(ClientConfigKey::Timeout),
            TRANSFER_TIMEOUT,
        )
        .with_config(
            GoogleConfigKey::Client(ClientConfigKey::ReadTimeout),
            READ_TIMEOUT,
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

fn unsupported(url: &str) -> String {
    format!(
        "{}: unsupported URL scheme, expected s3, gs, https or http",
        without_query(url)
    )
}

/// Describes an error without the query of the URL.
fn without_secrets(error: &Error, url: &str) -> io::Error {
    let message = match error {
        Error::NotFound { .. } => "no such object".to_owned(),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            "access denied: check the credentials".to_owned()
        }
        other => other.to_string(),
    };
    let message = match url.split_once('?') {
        Some((_, query)) if !query.is_empty() => message.replace(query, "…"),
        _ => message,
    };
    io::Error::other(message)
}

/// Streaming reader of an object; requests no more bytes than are read.
struct Reader {
    remote: Remote,
    url: String,
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
                Some(Err(error)) => return Err(without_secrets(&error, &self.url)),
                None => return Ok(0),
            }
        }
    }
}

/// Iterator over the items below a prefix, listed page by page.
struct Listing {
    remote: Remote,
    store: Arc<dyn ObjectStore>,
    skipped: SharedSkippedFiles,
    /// `s3://bucket`.
    root: String,
    url: String,
    listing: Option<Stream<ObjectMeta>>,
    /// Items that have been yielded.
    yielded: u64,
}

impl Listing {
    /// Whether an object is an image or an archive; counts it otherwise, unless it is hidden or has
    /// no content, as the markers of directories.
    fn is_image_or_archive(&self, object: &ObjectMeta) -> bool {
        let path = object.location.as_ref();
        let name = object.location.filename().unwrap_or_default();
        let is_wanted = match NameKind::from_member_path(path) {
            NameKind::Ignored => return false,
            _ if is_archive_name(name) => true,
            NameKind::Image => true,
            NameKind::NoExtension if object.size == 0 => return false,
            NameKind::NoExtension => self.has_image_start(object),
            NameKind::Other => false,
        };
        if !is_wanted {
            let mut skipped = SkippedFiles::default();
            skipped.add(OsStr::new(name));
            self.skipped.merge(&skipped);
        }
        is_wanted
    }

    /// Whether the first bytes of an object are those of an image. An object that cannot be read is
    /// one, so that its error becomes a row.
    fn has_image_start(&self, object: &ObjectMeta) -> bool {
        let length = object.size.min(IMAGE_START_BYTES as u64);
        let start = self.store.get_range(&object.location, 0..length);
        !matches!(self.remote.wait(start), Ok(Ok(start)) if !is_image_start(&start))
    }
}

impl Iterator for Listing {
    type Item = SourceItem;

    fn next(&mut self) -> Option<SourceItem> {
        loop {
            let listing = self.listing.as_mut()?;
            let error = match self.remote.wait(listing.next()) {
                Ok(Some(Ok(object))) => {
                    let url = format!("{}/{}", self.root, object.location);
                    if self.is_image_or_archive(&object) {
                        self.yielded += 1;
                        return Some(self.remote.item(&url));
                    }
                    continue;
                }
                Ok(Some(Err(error))) => without_secrets(&error, &self.url),
                Ok(None) if self.yielded == 0 => {
                    self.listing = None;
                    let error = io::Error::other("no image or archive below this prefix");
                    let image = NamedImage::failed(self.url.as_str(), error);
                    return Some(SourceItem::Image(image));
                }
                Ok(None) => {
                    self.listing = None;
                    return None;
                }
                Err(error) => error,
            };
            self.listing = None;
            return Some(SourceItem::Image(NamedImage::lost(
                self.url.as_str(),
                self.yielded,
                error,
            )));
        }
    }
}
