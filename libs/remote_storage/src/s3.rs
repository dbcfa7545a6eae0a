//! Objects in a bucket of Amazon S3, or of any store that speaks its protocol.
//!
//! Only what all of them have is used: put, get, head, list, delete, and uploads in parts for files that are too large for
//! one request. Bodies go with a CRC32C in a header, which a store either checks or ignores. The keys below the prefix are
//! ours alone.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Credentials, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use aws_smithy_http_client::tls;
use bytes::Bytes;
use durable_fs::run_blocking;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{ListMode, Listing, ObjectInfo, ObjectKey, Operation, RemoteError, RemoteStorage};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Until the answer begins, and as much again for so many bytes that are put. A body that comes may take as long as it
/// does not stall; the SDK sees to that.
const TIMEOUT: Duration = Duration::from_secs(30);
const BYTES_IN_TIMEOUT: u64 = 8 << 20;
/// Of one request, before its caller is told. Callers try again, more patiently.
const ATTEMPTS: u32 = 3;
/// What is put in one request. S3 takes ten times as much, and 10,000 parts.
const LARGEST_PUT: u64 = 512 << 20;
const USUAL_REGION: &str = "us-east-1";
const READ_BUFFER: usize = 256 << 10;

/// Where the bucket is. Credentials come from the environment, a profile or the machine, as in every AWS SDK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Config {
    pub bucket_name: String,
    pub bucket_region: Option<String>,
    /// Of a store that is not Amazon's, as a URL.
    pub endpoint: Option<String>,
    /// Before every key.
    pub prefix_in_bucket: Option<ObjectKey>,
    /// Requests at a time.
    pub concurrency_limit: usize,
}

/// See the head of this module.
#[derive(Clone, Debug)]
pub struct S3Bucket {
    client: Client,
    bucket: String,
    /// Empty, or with a slash at its end.
    prefix: String,
    requests: Arc<Semaphore>,
    largest_put: u64,
}

impl S3Bucket {
    /// Fails if the bucket cannot be used; not if nothing answers now, since that may change.
    pub async fn open(config: &S3Config) -> Result<Self, RemoteError> {
        Self::open_as(config, None).await
    }

    /// With these credentials instead of the ones that are found.
    pub async fn open_as(config: &S3Config, credentials: Option<Credentials>) -> Result<Self, RemoteError> {
        let https = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(https)
            .timeout_config(timeouts(0))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        // Of other stores it only has to be the one that they sign with. Amazon's may be in the environment.
        let region =
            config.bucket_region.clone().or(config.endpoint.as_ref().map(|_| USUAL_REGION.to_owned()));
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        if let Some(credentials) = credentials {
            loader = loader.credentials_provider(credentials);
        }
        let shared = loader.load().await;
        let mut builder = aws_sdk_s3::config::Builder::from(&shared)
            // What the SDK would send by itself, not every store understands.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &config.endpoint {
            // Names of buckets in host names need DNS that only Amazon has for sure.
            builder = builder.endpoint_url(endpoint).force_path_style(true);
        }
        if shared.region().is_none() {
            builder = builder.region(Region::new(USUAL_REGION));
        }
        let prefix = config.prefix_in_bucket.as_ref().map(|prefix| format!("{prefix}/")).unwrap_or_default();
        let bucket = Self {
            client: Client::from_conf(builder.build()),
            bucket: config.bucket_name.clone(),
            prefix,
            requests: Arc::new(Semaphore::new(config.concurrency_limit)),
            largest_put: LARGEST_PUT,
        };
        match bucket.list_some().await {
            Err(error) if error.is_retryable() => {
                tracing::warn!(bucket = bucket.bucket, %error, "object storage does not answer yet");
            }
            outcome => outcome?,
        }
        Ok(bucket)
    }

    /// Puts files that are larger in parts of so many bytes, 5 MiB at least.
    pub fn with_largest_put(self, bytes: u64) -> Self {
        Self { largest_put: bytes, ..self }
    }

    async fn list_some(&self) -> Result<(), RemoteError> {
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(&self.prefix).max_keys(1);
        let (status, source) = match request.send().await {
            Ok(_) => return Ok(()),
            Err(error) => said(&error),
        };
        Err(RemoteError::Bucket { bucket: self.bucket.clone(), status, source: source.into() })
    }

    fn full(&self, key: &ObjectKey) -> String {
        format!("{}{key}", self.prefix)
    }

    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.requests.acquire().await.ok()
    }

    async fn put_stream(
        &self,
        key: &ObjectKey,
        body: ByteStream,
        size: u64,
        crc32c: u32,
    ) -> Result<(), RemoteError> {
        let _permit = self.permit().await;
        let request = self.client.put_object().bucket(&self.bucket).key(self.full(key)).body(body);
        let request = request.content_length(size.cast_signed()).checksum_crc32_c(in_header(crc32c));
        let request = request.customize().config_override(patience(size));
        request.send().await.map_err(|error| failed(Operation::Put, key.as_str(), error))?;
        Ok(())
    }

    /// A file that is too large for one request.
    async fn put_in_parts(&self, key: &ObjectKey, path: &Path, size: u64) -> Result<(), RemoteError> {
        let request = self.client.create_multipart_upload().bucket(&self.bucket).key(self.full(key));
        let request = request.checksum_algorithm(ChecksumAlgorithm::Crc32C);
        let begun = request.send().await.map_err(|error| failed(Operation::Put, key.as_str(), error))?;
        let upload = begun.upload_id().unwrap_or_default();
        let put = async {
            let mut parts = CompletedMultipartUpload::builder();
            for (number, start) in (1..).zip((0..size).step_by(self.largest_put as usize)) {
                let range = start..size.min(start + self.largest_put);
                parts = parts.parts(self.put_part(key, upload, number, path, range).await?);
            }
            let request = self.client.complete_multipart_upload().bucket(&self.bucket).key(self.full(key));
            let request = request.upload_id(upload).multipart_upload(parts.build());
            // A store may put the parts together only now.
            let request = request.customize().config_override(patience(size));
            request.send().await.map_err(|error| failed(Operation::Put, key.as_str(), error))?;
            Ok(())
        };
        let outcome = put.await;
        if outcome.is_err() {
            // Parts without an object cost as much. What cannot be aborted now is for a rule of the bucket's.
            let request = self.client.abort_multipart_upload().bucket(&self.bucket).key(self.full(key));
            if let Err(error) = request.upload_id(upload).send().await {
                tracing::warn!(%key, error = said(&error).1, "an upload in parts could not be aborted");
            }
        }
        outcome
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        upload: &str,
        number: i32,
        path: &Path,
        range: Range<u64>,
    ) -> Result<CompletedPart, RemoteError> {
        let (crc32c, body) = self.read_part(key, path, range.clone()).await?;
        let size = range.end - range.start;
        let checksum = in_header(crc32c);
        let _permit = self.permit().await;
        let request = self.client.upload_part().bucket(&self.bucket).key(self.full(key)).upload_id(upload);
        let request = request.part_number(number).body(body).content_length(size.cast_signed());
        let request = request.checksum_crc32_c(&checksum).customize().config_override(patience(size));
        let put = request.send().await.map_err(|error| failed(Operation::Put, key.as_str(), error))?;
        let part = CompletedPart::builder().part_number(number).set_e_tag(put.e_tag);
        Ok(part.checksum_crc32_c(checksum).build())
    }

    /// Checksum and bytes of a part of a file.
    async fn read_part(
        &self,
        key: &ObjectKey,
        path: &Path,
        range: Range<u64>,
    ) -> Result<(u32, ByteStream), RemoteError> {
        let unreadable = |source| RemoteError::Io { action: "put", key: key.to_string(), source };
        let (file, part) = (path.to_owned(), range.clone());
        let crc32c = run_blocking(move || crc32c_of(&file, part)).await.map_err(unreadable)?;
        let body = ByteStream::read_from()
            .path(path)
            .offset(range.start)
            .length(Length::Exact(range.end - range.start))
            .buffer_size(READ_BUFFER)
            .build()
            .await
            .map_err(|error| unreadable(io::Error::other(error)))?;
        Ok((crc32c, body))
    }

    async fn open_object(
        &self,
        key: &ObjectKey,
        range: Option<&Range<u64>>,
    ) -> Result<GetObjectOutput, RemoteError> {
        let range = range.map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let request = self.client.get_object().bucket(&self.bucket).key(self.full(key)).set_range(range);
        request.send().await.map_err(|error| match error.as_service_error() {
            Some(service) if service.is_no_such_key() => RemoteError::NotFound(key.clone()),
            _ => failed(Operation::Get, key.as_str(), error),
        })
    }
}

#[async_trait]
impl RemoteStorage for S3Bucket {
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<(), RemoteError> {
        let (size, crc32c) = (body.len() as u64, crc32c::crc32c(&body));
        self.put_stream(key, ByteStream::from(body), size, crc32c).await
    }

    async fn put_file(&self, key: &ObjectKey, path: &Path) -> Result<(), RemoteError> {
        let size = match tokio::fs::metadata(path).await {
            Ok(metadata) => metadata.len(),
            Err(source) => return Err(RemoteError::Io { action: "put", key: key.to_string(), source }),
        };
        if size > self.largest_put {
            return self.put_in_parts(key, path, size).await;
        }
        let (crc32c, body) = self.read_part(key, path, 0..size).await?;
        self.put_stream(key, body, size, crc32c).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, RemoteError> {
        let _permit = self.permit().await;
        body_of(key, self.open_object(key, None).await?).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, RemoteError> {
        let length = range.end.saturating_sub(range.start);
        if length > 0 {
            let _permit = self.permit().await;
            match self.open_object(key, Some(&range)).await {
                // Of a range that ends behind the object's end, a store gives what there is.
                Ok(object) if object.content_length == Some(length.cast_signed()) => {
                    return body_of(key, object).await;
                }
                Ok(_) => {}
                Err(RemoteError::S3 { status: Some(416), .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let size = self.head(key).await?.ok_or_else(|| RemoteError::NotFound(key.clone()))?;
        let Range { start, end } = range;
        if start > end || end > size {
            return Err(RemoteError::BadRange { key: key.clone(), size, start, end });
        }
        if length == 0 {
            return Ok(Bytes::new());
        }
        Err(broken_off(key, "it gave another part than was asked for"))
    }

    async fn get_to_file(&self, key: &ObjectKey, path: &Path) -> Result<u64, RemoteError> {
        let _permit = self.permit().await;
        let mut object = self.open_object(key, None).await?;
        let unwritable = |source| RemoteError::Io { action: "get", key: key.to_string(), source };
        let mut file = tokio::fs::File::create(path).await.map_err(unwritable)?;
        let mut size = 0;
        while let Some(piece) = object.body.try_next().await.map_err(|error| broken_off(key, error))? {
            file.write_all(&piece).await.map_err(unwritable)?;
            size += piece.len() as u64;
        }
        file.flush().await.map_err(unwritable)?;
        Ok(size)
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<u64>, RemoteError> {
        let _permit = self.permit().await;
        let request = self.client.head_object().bucket(&self.bucket).key(self.full(key));
        match request.send().await {
            Ok(object) => Ok(Some(object.content_length.unwrap_or_default().cast_unsigned())),
            Err(error) if error.as_service_error().is_some_and(|service| service.is_not_found()) => Ok(None),
            Err(error) => Err(failed(Operation::Head, key.as_str(), error)),
        }
    }

    async fn list(&self, prefix: Option<&ObjectKey>, mode: ListMode) -> Result<Listing, RemoteError> {
        let place = prefix.map_or("", ObjectKey::as_str);
        let below = prefix.map_or_else(|| self.prefix.clone(), |prefix| format!("{}/", self.full(prefix)));
        let delimiter = (mode == ListMode::Children).then(|| "/".to_owned());
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(below);
        let mut pages = request.set_delimiter(delimiter).into_paginator().send();
        // What is not a key was not put here by us.
        let ours = |name: &str| ObjectKey::new(name.strip_prefix(&self.prefix)?.trim_end_matches('/')).ok();
        let mut listing = Listing::default();
        loop {
            let permit = self.permit().await;
            let Some(page) = pages.next().await else { break };
            drop(permit);
            let page = page.map_err(|error| failed(Operation::List, place, error))?;
            for object in page.contents() {
                if let Some(key) = object.key().and_then(ours) {
                    let size = object.size().unwrap_or_default().cast_unsigned();
                    listing.objects.push(ObjectInfo { key, size });
                }
            }
            let directories = page.common_prefixes().iter().filter_map(|common| common.prefix());
            listing.directories.extend(directories.filter_map(ours));
        }
        listing.objects.sort_by(|a, b| a.key.cmp(&b.key));
        listing.directories.sort();
        Ok(listing)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), RemoteError> {
        let _permit = self.permit().await;
        let request = self.client.delete_object().bucket(&self.bucket).key(self.full(key));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.raw_response().is_some_and(|raw| raw.status().as_u16() == 404) => Ok(()),
            Err(error) => Err(failed(Operation::Delete, key.as_str(), error)),
        }
    }
}

/// For one attempt to put that many bytes, or to do anything else.
fn timeouts(size: u64) -> TimeoutConfig {
    let parts = u32::try_from(size / BYTES_IN_TIMEOUT).unwrap_or(u32::MAX);
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(TIMEOUT.saturating_mul(parts.saturating_add(1)))
        .build()
}

fn patience(size: u64) -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::Config::builder().timeout_config(timeouts(size))
}

fn in_header(crc32c: u32) -> String {
    aws_smithy_types::base64::encode(crc32c.to_be_bytes())
}

/// Checksum of a part of a file.
fn crc32c_of(path: &Path, range: Range<u64>) -> io::Result<u32> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(range.start))?;
    let mut part = file.take(range.end - range.start);
    let mut crc = 0;
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        let count = part.read(&mut buffer)?;
        if count == 0 {
            return Ok(crc);
        }
        crc = crc32c::crc32c_append(crc, &buffer[..count]);
    }
}

async fn body_of(key: &ObjectKey, object: GetObjectOutput) -> Result<Bytes, RemoteError> {
    let body = object.body.collect().await.map_err(|error| broken_off(key, error))?;
    Ok(body.into_bytes())
}

fn broken_off(key: &ObjectKey, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RemoteError {
    let action = Operation::Get.verb();
    RemoteError::S3 { action, key: key.to_string(), status: None, source: why.into() }
}

fn failed<E>(operation: Operation, key: &str, error: SdkError<E>) -> RemoteError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let (status, source) = said(&error);
    RemoteError::S3 { action: operation.verb(), key: key.to_owned(), status, source: source.into() }
}

/// The code and the message of the store, or why there is none.
fn said<E>(error: &SdkError<E>) -> (Option<u16>, String)
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let said = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        // The reason is often the innermost: refused, no such host, no credentials.
        (None, _) => {
            let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
            causes.map(ToString::to_string).collect::<Vec<String>>().join(": ")
        }
    };
    (error.raw_response().map(|raw| raw.status().as_u16()), said)
}
