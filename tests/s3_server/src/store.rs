//! One bucket, in memory. What S3 promises holds: a put is there whole or not at all, and at once for everybody.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CommonPrefix, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput,
    DeleteObjectInput, DeleteObjectOutput, ETag, GetObjectInput, GetObjectOutput, HeadObjectInput,
    HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput,
    StreamingBlob, UploadPartInput, UploadPartOutput,
};
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};

/// Keys on a page of a listing, if no fewer are asked for.
const PAGE: i32 = 1000;

#[derive(Clone, Debug)]
pub struct Store {
    bucket: String,
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    uploads: Arc<Mutex<Uploads>>,
}

/// Uploads in parts that have not ended, and how many there ever were.
#[derive(Debug, Default)]
struct Uploads {
    begun: u32,
    refused_part: Option<i32>,
    parts: BTreeMap<String, BTreeMap<i32, Bytes>>,
}

/// What a body has, if that is what its checksum says.
async fn checked(body: Option<StreamingBlob>, checksum_crc32c: Option<String>) -> S3Result<Bytes> {
    let mut whole = BytesMut::new();
    let mut body = body.ok_or_else(|| s3_error!(IncompleteBody))?;
    while let Some(piece) = body.next().await {
        whole.extend_from_slice(&piece.map_err(|_| s3_error!(IncompleteBody))?);
    }
    let crc = crc32c::crc32c(&whole).to_be_bytes();
    match checksum_crc32c.is_some_and(|said| said == aws_smithy_types::base64::encode(crc)) {
        true => Ok(whole.freeze()),
        false => Err(s3_error!(BadDigest)),
    }
}

impl Store {
    pub fn new(bucket: &str) -> Store {
        Store { bucket: bucket.to_owned(), objects: Arc::default(), uploads: Arc::default() }
    }

    pub fn set_refused_part(&self, number: Option<i32>) {
        self.uploads().refused_part = number;
    }

    /// How many uploads in parts have not ended.
    pub fn unfinished_uploads(&self) -> usize {
        self.uploads().parts.len()
    }

    fn uploads(&self) -> MutexGuard<'_, Uploads> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
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
        let whole = checked(body, checksum_crc32c).await?;
        self.objects().insert(key, whole);
        Ok(S3Response::new(PutObjectOutput::default()))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.check_bucket(&request.input.bucket)?;
        let mut uploads = self.uploads();
        uploads.begun += 1;
        let id = format!("upload-{}", uploads.begun);
        uploads.parts.insert(id.clone(), BTreeMap::new());
        let output =
            CreateMultipartUploadOutput { upload_id: Some(id), ..CreateMultipartUploadOutput::default() };
        Ok(S3Response::new(output))
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let UploadPartInput { upload_id, part_number, body, checksum_crc32c, .. } = request.input;
        let part = checked(body, checksum_crc32c).await?;
        let mut uploads = self.uploads();
        if uploads.refused_part == Some(part_number) {
            return Err(s3_error!(BadDigest));
        }
        let parts = uploads.parts.get_mut(&upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        parts.insert(part_number, part);
        let e_tag = Some(ETag::Strong(format!("part-{part_number}")));
        Ok(S3Response::new(UploadPartOutput { e_tag, ..UploadPartOutput::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let CompleteMultipartUploadInput { key, upload_id, multipart_upload, .. } = request.input;
        let listed = multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let parts = self.uploads().parts.remove(&upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        if !listed.iter().filter_map(|part| part.part_number).eq(parts.keys().copied()) {
            return Err(s3_error!(InvalidPart));
        }
        let whole: Vec<u8> = parts.into_values().flatten().collect();
        self.objects().insert(key, whole.into());
        Ok(S3Response::new(CompleteMultipartUploadOutput::default()))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.uploads().parts.remove(&request.input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
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
