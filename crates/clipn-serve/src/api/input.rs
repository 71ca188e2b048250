use std::borrow::Cow;
use std::convert::Infallible;

use axum::extract::Query;
use axum::http::{HeaderMap, Uri, header};
use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use clipn::count::count;
use multer::{Field, Multipart};
use serde::Deserialize;

use super::error::{ApiError, shown, shown_message};
use crate::classify_error::ClassifyError;

/// Base64 with or without padding, in the standard alphabet.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Default number of top classes per image.
const DEFAULT_TOP: usize = 3;

/// Names of form fields that are images even without a file name, as some clients send them.
const IMAGE_FIELDS: [&str; 4] = ["file", "files", "image", "images"];

/// Maximum number of top classes per image.
const MAX_TOP: usize = 1000;

/// Encoded image of a request.
#[derive(Debug)]
pub(super) struct InputImage {
    /// Client's name for the image, at most 200 characters.
    pub(super) id: Option<String>,
    /// Bytes of the image file, or a Base64 error.
    pub(super) bytes: Result<Bytes, ClassifyError>,
}

/// Parsed classification request, independent of its format.
#[derive(Debug)]
pub(super) struct ClassifyInput {
    pub(super) images: Vec<InputImage>,
    /// Custom classes; `None` for the server's own.
    pub(super) classes: Option<Vec<String>>,
    /// Number of top classes per image, 1 to [`MAX_TOP`].
    pub(super) top: usize,
    /// Whether results have maps of what is seen where.
    pub(super) explain: bool,
}

/// Query parameters of a classification request.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, into_params(parameter_in = Query))]
pub(crate) struct ClassifyQuery {
    /// Number of top classes to return per image. Default: 3.
    #[cfg_attr(test, param(minimum = 1, maximum = 1000))]
    top: Option<usize>,
    /// Custom classes instead of the server's own: names separated by commas, or a JSON array.
    classes: Option<String>,
    /// Whether results have `evidence`, maps of what is seen where in the image. Default: false.
    explain: Option<bool>,
}

/// Classification request in JSON.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, expecting = "an object with `images`")]
pub(crate) struct ClassifyRequest<'a> {
    /// Images to classify.
    #[serde(borrow)]
    images: Vec<JsonImage<'a>>,
    /// Number of top classes to return per image. Default: 3.
    #[cfg_attr(test, schema(minimum = 1, maximum = 1000))]
    top: Option<usize>,
    /// Custom classes instead of the server's own.
    classes: Option<Vec<String>>,
    /// Whether results have `evidence`, maps of what is seen where in the image. Default: false.
    explain: Option<bool>,
}

/// Image in a JSON request.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, expecting = "an object with `base64`")]
struct JsonImage<'a> {
    /// Optional name, returned in the result.
    id: Option<String>,
    /// Bytes of an image file in Base64, or a `data:` URL. The standard and the URL alphabet are
    /// accepted, with or without padding and line breaks.
    #[serde(borrow)]
    base64: Cow<'a, str>,
}

/// Parses a request by its media type: raw bytes, a form or JSON. Query parameters override those
/// of the body.
pub(super) async fn read(
    headers: &HeaderMap,
    uri: &Uri,
    body: Bytes,
    max_images: usize,
) -> Result<ClassifyInput, ApiError> {
    let Query(query) = Query::<ClassifyQuery>::try_from_uri(uri).map_err(|error| {
        let error = error.body_text();
        let error = shown_message(error.trim_start_matches("Failed to deserialize query string: "));
        ApiError::bad_request(format!("invalid query: {error}"))
    })?;
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .map(|value| value.to_str().unwrap_or_default());
    let content_type = content_type.unwrap_or("application/octet-stream");
    let media_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let mut input = match media_type.as_str() {
        "application/json" => from_json(&body, max_images)?,
        "multipart/form-data" => from_form(content_type, body, max_images).await?,
        "application/octet-stream" => from_bytes(body),
        image if image.starts_with("image/") => from_bytes(body),
        other => {
            let message = format!(
                "unsupported media type `{}`; send an image as image/jpeg (curl: -H \
                 'Content-Type: image/jpeg' --data-binary @photo.jpg), files as multipart/form-data \
                 (curl: -F file=@photo.jpg), or JSON",
                shown(other)
            );
            return Err(ApiError::new(415, "unsupported_media_type", message));
        }
    };
    if let Some(top) = query.top {
        input.top = top;
    }
    if let Some(explain) = query.explain {
        input.explain = explain;
    }
    if let Some(classes) = query.classes {
        input.classes = Some(parse_class_list(&classes)?);
    }
    if input.top == 0 || input.top > MAX_TOP {
        return Err(ApiError::bad_request(format!(
            "invalid `top`: expected 1 to {MAX_TOP}, got {}",
            input.top
        )));
    }
    match input.images.len() {
        0 => Err(ApiError::new(
            400,
            "no_images",
            "the request contains no image; send at least one",
        )),
        n if n > max_images => Err(too_many_images(max_images)),
        _ => Ok(input),
    }
}

fn too_many_images(max_images: usize) -> ApiError {
    let message = format!(
        "the request exceeds the limit of {}; send several requests",
        count(max_images, "image")
    );
    ApiError::new(413, "too_many_images", message)
}

fn from_bytes(bytes: Bytes) -> ClassifyInput {
    ClassifyInput {
        images: vec![InputImage {
            id: None,
            bytes: Ok(bytes),
        }],
        classes: None,
        top: DEFAULT_TOP,
        explain: false,
    }
}

fn from_json(body: &[u8], max_images: usize) -> Result<ClassifyInput, ApiError> {
    let request: ClassifyRequest<'_> = json_object(body)?;
    if request.images.len() > max_images {
        return Err(too_many_images(max_images));
    }
    let images = request.images.into_iter().map(|image| {
        let text = image.base64.trim();
        let text = match text.strip_prefix("data:") {
            Some(url) => url.split_once(',').map_or("", |(_, data)| data),
            None => text,
        };
        let bytes = decode_base64(text)
            .map(Bytes::from)
            .map_err(ClassifyError::Base64);
        InputImage {
            id: image.id.map(truncate_id),
            bytes,
        }
    });
    Ok(ClassifyInput {
        images: images.collect(),
        classes: request.classes,
        top: request.top.unwrap_or(DEFAULT_TOP),
        explain: request.explain.unwrap_or(false),
    })
}

/// What serde calls the types of JSON, and JSON does.
const JSON_TYPES: [(&str, &str); 2] = [
    (
        ", expected usize",
        ", expected a whole number of at least 0",
    ),
    (", expected a sequence", ", expected a list"),
];

/// Reads a body that is a JSON object; the library would take an array for its fields in order.
pub(super) fn json_object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    let invalid = |error: &str| {
        let error = shown_message(error);
        ApiError::bad_request(format!("invalid JSON: {error}; see /docs"))
    };
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(invalid("expected an object, got an array"));
    }
    serde_json::from_slice(body).map_err(|error| {
        let error = JSON_TYPES
            .iter()
            .fold(error.to_string(), |error, (serde, json)| {
                error.replace(serde, json)
            });
        invalid(&error)
    })
}

/// Decodes Base64 in the standard or the URL alphabet, with or without padding, on one line or on
/// several, as MIME breaks it.
fn decode_base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    // Most clients send one line of the standard alphabet: the decoder itself finds out, as it reads every byte anyway.
    if let Ok(bytes) = BASE64.decode(text) {
        return Ok(bytes);
    }
    let standard = |byte: u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    };
    let bytes = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    BASE64.decode(bytes.map(standard).collect::<Vec<u8>>())
}

async fn from_form(
    content_type: &str,
    body: Bytes,
    max_images: usize,
) -> Result<ClassifyInput, ApiError> {
    let bad = |error: multer::Error| {
        let error = shown_message(&error.to_string());
        ApiError::bad_request(format!("invalid form: {error}"))
    };
    let boundary = multer::parse_boundary(content_type).map_err(bad)?;
    let stream = futures_util::stream::once(async { Ok::<_, Infallible>(body) });
    let mut form = Multipart::new(stream, boundary);
    let mut input = ClassifyInput {
        images: Vec::new(),
        classes: None,
        top: DEFAULT_TOP,
        explain: false,
    };
    let mut settings = Vec::new();
    while let Some(part) = form.next_field().await.map_err(bad)? {
        let kind = FormField::of(&part)?;
        if kind != FormField::Image {
            if settings.contains(&kind) {
                let name = part.name().unwrap_or_default();
                return Err(ApiError::bad_request(format!("duplicate field `{name}`")));
            }
            settings.push(kind);
        }
        match kind {
            FormField::Top => {
                let text = part.text().await.map_err(bad)?;
                let number = text.trim().parse();
                input.top = number.map_err(|_| {
                    ApiError::bad_request(format!("invalid `top`: expected 1 to {MAX_TOP}"))
                })?;
            }
            FormField::Explain => {
                let text = part.text().await.map_err(bad)?;
                input.explain = match text.trim() {
                    "true" => true,
                    "false" => false,
                    _ => {
                        return Err(ApiError::bad_request(
                            "invalid `explain`: expected true or false",
                        ));
                    }
                };
            }
            FormField::Classes => {
                input.classes = Some(parse_class_list(&part.text().await.map_err(bad)?)?);
            }
            FormField::Image if input.images.len() >= max_images => {
                return Err(too_many_images(max_images));
            }
            FormField::Image => input.images.push(file(part).await.map_err(bad)?),
        }
    }
    Ok(input)
}

/// What a field of a form is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FormField {
    Top,
    Explain,
    Classes,
    Image,
}

impl FormField {
    /// Settings may come from files, as in curl's `-F classes=@names.txt`; every other file is an image.
    fn of(part: &Field<'_>) -> Result<Self, ApiError> {
        match part.name() {
            Some("top") => Ok(Self::Top),
            Some("explain") => Ok(Self::Explain),
            Some("classes") => Ok(Self::Classes),
            Some(name) if part.file_name().is_none() && !IMAGE_FIELDS.contains(&name) => {
                Err(ApiError::bad_request(format!(
                    "unknown field `{}`: expected top, explain, classes or a file",
                    shown(name)
                )))
            }
            _ => Ok(Self::Image),
        }
    }
}

async fn file(part: Field<'_>) -> Result<InputImage, multer::Error> {
    let id = part
        .file_name()
        .or(part.name())
        .map(|name| truncate_id(name.to_owned()));
    Ok(InputImage {
        id,
        bytes: Ok(part.bytes().await?),
    })
}

/// Parses class names: a JSON array, or names separated by commas, with at most one comma at the end.
/// Empty names between commas are kept, so that they are an error later.
fn parse_class_list(text: &str) -> Result<Vec<String>, ApiError> {
    if text.trim_start().starts_with('[') {
        let invalid = |error: serde_json::Error| {
            let error = shown_message(&error.to_string());
            ApiError::bad_request(format!("`classes` is not a JSON array of strings: {error}"))
        };
        return serde_json::from_str(text).map_err(invalid);
    }
    let text = text.trim();
    let text = text.strip_suffix(',').unwrap_or(text);
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let names = text.split(',').map(|name| name.trim().to_owned());
    Ok(names.collect())
}

/// Truncates a client's name for an image to 200 characters.
fn truncate_id(name: String) -> String {
    match name.char_indices().nth(200) {
        Some((at, _)) => name[..at].to_owned(),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<ClassifyInput, ApiError> {
        from_json(text.as_bytes(), 2)
    }

    #[test]
    fn accepts_base64_with_padding_white_space_or_data_url() {
        let input = json(
            r#"{"images": [{"id": "a", "base64": "data:image/png;base64,aGk="}, {"base64": " aGk\n"}], "top": 7}"#,
        )
        .unwrap();
        assert!(
            input
                .images
                .iter()
                .all(|p| p.bytes.as_ref().unwrap() == "hi"),
            "{input:?}"
        );
        assert_eq!((input.images[0].id.as_deref(), input.top), (Some("a"), 7));
        let input = json(r#"{"images": [{"base64": "a*"}, {"base64": "data:x"}]}"#).unwrap();
        assert!(matches!(
            input.images[0].bytes,
            Err(ClassifyError::Base64(_))
        ));
        assert_eq!(input.images[1].bytes.as_ref().unwrap().len(), 0);
    }

    #[test]
    fn base64_of_any_writer_is_the_same() {
        // Bytes that need both characters that the alphabets differ in.
        let bytes: Vec<u8> = (0..=255).rev().collect();
        let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
        assert!(text.contains('+') && text.contains('/') && text.ends_with("="));
        let lines = |separator: &str| {
            let lines: Vec<&str> = text
                .as_bytes()
                .chunks(76)
                .map(|line| std::str::from_utf8(line).unwrap())
                .collect();
            lines.join(separator)
        };
        for written in [
            text.clone(),
            text.trim_end_matches('=').to_owned(),
            text.replace('+', "-").replace('/', "_"),
            lines("\n"),
            lines("\r\n") + "\r\n",
            lines("\n")
                .replace('+', "-")
                .trim_end_matches('=')
                .to_owned(),
        ] {
            assert_eq!(decode_base64(&written).unwrap(), bytes, "{written}");
        }
        for broken in ["a*", "====", "a", "aGk=aGk="] {
            assert!(decode_base64(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn rejects_malformed_json() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"images": {}}"#,
            r#"{"images": [], "topp": 1}"#,
            r#"{"images": [{"id": 1}]}"#,
        ] {
            assert!(json(text).is_err(), "{text}");
        }
        assert!(json(r#"{"images": [{"base64": ""}, {"base64": ""}, {"base64": ""}]}"#).is_err());
    }

    #[test]
    fn class_lists_are_json_arrays_or_comma_separated() {
        assert_eq!(parse_class_list("cat, dog,").unwrap(), ["cat", "dog"]);
        assert_eq!(
            parse_class_list(r#" ["cat, of sorts", "dog"]"#).unwrap(),
            ["cat, of sorts", "dog"]
        );
        assert_eq!(parse_class_list("cat,, dog").unwrap(), ["cat", "", "dog"]);
        assert!(parse_class_list(" ").unwrap().is_empty());
        assert!(parse_class_list("[1]").is_err());
        assert_eq!(truncate_id("é".repeat(300)).chars().count(), 200);
    }
}
