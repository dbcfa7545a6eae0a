//! One bucket, in memory. What S3 promises holds: a put is there whole or not at all, and at once for everybody.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use s3s::dto::{
    CommonPrefix, DeleteObjectInput, DeleteObjectOutput, GetObjectInput, GetObjectOutput, HeadObjectInput,
    HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput,
    StreamingBlob,
};
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};

/// Keys on a page of a listing, if no fewer are asked for.
const PAGE: i32 = 1000;

#[derive(Clone, Debug)]
pub struct Store {
    bucket: String,
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
}

impl Store {
    pub fn new(bucket: &str) -> Store {
        Store { bucket: bucket.to_owned(), objects: Arc::default() }
    }

    pub fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        if bucket == self.bucket { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
    }

    fn object(&self, bucket: &str, key: &str) -> S3Result<Bytes> {
        self.check_bucket(bucket)?;
        self.objects().get(key).cloned().ok_or_else(|| s3_error!(NoSuchKey))
    }
}

#[async_trait::async_trait]
impl S3 for Store {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let PutObjectInput { bucket, key, body, checksum_crc32c, .. } = request.input;
        self.check_bucket(&bucket)?;
        let mut whole = BytesMut::new();
        let mut body = body.ok_or_else(|| s3_error!(IncompleteBody))?;
        while let Some(piece) = body.next().await {
            whole.extend_from_slice(&piece.map_err(|_| s3_error!(IncompleteBody))?);
        }
        let crc = crc32c::crc32c(&whole).to_be_bytes();
        if checksum_crc32c.is_none_or(|said| said != aws_smithy_types::base64::encode(crc)) {
            return Err(s3_error!(BadDigest));
        }
        self.objects().insert(key, whole.freeze());
        Ok(S3Response::new(PutObjectOutput::default()))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let GetObjectInput { bucket, key, range, .. } = request.input;
        let object = self.object(&bucket, &key)?;
        let part = match range {
            None => object,
            Some(range) => {
                let range = range.check(object.len() as u64)?;
                object.slice(range.start as usize..range.end as usize)
            }
        };
        let content_length = Some(part.len() as i64);
        let body = Some(StreamingBlob::from(Body::from(part)));
        Ok(S3Response::new(GetObjectOutput { body, content_length, ..GetObjectOutput::default() }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let object = self.object(&request.input.bucket, &request.input.key)?;
        let content_length = Some(object.len() as i64);
        Ok(S3Response::new(HeadObjectOutput { content_length, ..HeadObjectOutput::default() }))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.check_bucket(&request.input.bucket)?;
        self.objects().remove(&request.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let ListObjectsV2Input { bucket, prefix, delimiter, continuation_token, max_keys, .. } =
            request.input;
        self.check_bucket(&bucket)?;
        let prefix = prefix.unwrap_or_default();
        let most = max_keys.unwrap_or(PAGE).clamp(1, PAGE) as usize;
        // The token is the last name of the page before, a directory's with its slash.
        let mut last = continuation_token.unwrap_or_default();
        let (mut contents, mut common_prefixes) = (Vec::new(), Vec::new());
        let mut is_truncated = false;
        let objects = self.objects();
        for (key, body) in objects.range::<String, _>((Bound::Excluded(&last.clone()), Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(&prefix) else { continue };
            let below_last = last.ends_with('/') && key.starts_with(&last);
            if delimiter.is_some() && below_last {
                continue;
            }
            if contents.len() + common_prefixes.len() == most {
                is_truncated = true;
                break;
            }
            match delimiter.as_ref().and_then(|delimiter| rest.find(delimiter.as_str())) {
                Some(at) => {
                    last = key[..=prefix.len() + at].to_owned();
                    common_prefixes.push(CommonPrefix { prefix: Some(last.clone()) });
                }
                None => {
                    last.clone_from(key);
                    let size = Some(body.len() as i64);
                    contents.push(Object { key: Some(key.clone()), size, ..Object::default() });
                }
            }
        }
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: Some((contents.len() + common_prefixes.len()) as i32),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            is_truncated: Some(is_truncated),
            next_continuation_token: is_truncated.then_some(last),
            ..ListObjectsV2Output::default()
        }))
    }
}
