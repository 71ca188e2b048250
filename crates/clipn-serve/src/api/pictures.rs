use std::borrow::Cow;
use std::convert::Infallible;

use axum::extract::Query;
use axum::http::{HeaderMap, Uri, header};
use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use multer::{Field, Multipart};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use crate::failure::Failure;

/// Base64 with or without `=` at the end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Classes told of a picture where nothing else is said.
const TOP: usize = 3;

/// Most classes told of a picture.
const MOST_TOP: usize = 1000;

/// A picture of a request.
#[derive(Debug)]
pub(super) struct Picture {
    /// The request's own name for it.
    pub(super) id: Option<String>,
    pub(super) bytes: Result<Bytes, Failure>,
}

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) pictures: Vec<Picture>,
    pub(super) classes: Option<Vec<String>>,
    pub(super) top: usize,
}

/// What can be said in the address, for requests whose body is a picture.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ClassifyQuery {
    /// How many of the best classes are told; 3 where nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    top: Option<usize>,
    /// Other classes than the server's own, separated by commas.
    classes: Option<String>,
}

/// Pictures in JSON.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassifyRequest<'a> {
    /// The pictures.
    #[serde(borrow)]
    images: Vec<JsonPicture<'a>>,
    /// How many of the best classes are told; 3 where nothing is said.
    #[schema(minimum = 1, maximum = 1000)]
    top: Option<usize>,
    /// Other classes than the server's own.
    classes: Option<Vec<String>>,
}

/// A picture in JSON.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct JsonPicture<'a> {
    /// A name of yours, which the answer repeats.
    id: Option<String>,
    /// The bytes of an image file in Base64; a `data:` URL is taken too.
    #[serde(borrow)]
    base64: Cow<'a, str>,
}

/// The parts of a form.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "describes the form; the parts are read one by one"
)]
pub(super) struct ClassifyForm {
    /// A picture's file; may stand many times.
    #[schema(value_type = Vec<String>, format = Binary)]
    file: Vec<u8>,
    /// How many of the best classes are told; 3 where nothing is said.
    top: Option<usize>,
    /// Other classes than the server's own: a JSON list, or names separated by commas.
    classes: Option<String>,
}

/// Reads a request's pictures, whichever way they come.
pub(super) async fn read(
    headers: &HeaderMap,
    uri: &Uri,
    body: Bytes,
    most: usize,
) -> Result<Asked, Problem> {
    let asked = Query::<ClassifyQuery>::try_from_uri(uri);
    let Query(query) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
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
    let mut asked = match media_type.as_str() {
        "application/json" => from_json(&body, most)?,
        "multipart/form-data" => from_form(content_type, body, most).await?,
        "application/octet-stream" => from_bytes(body),
        image if image.starts_with("image/") => from_bytes(body),
        other => {
            let other: String = other.chars().take(100).collect();
            let message = format!(
                "`{other}` is not read; send a picture as image/jpeg (curl: -H 'Content-Type: image/jpeg' \
                 --data-binary @photo.jpg), files as multipart/form-data (curl: -F file=@photo.jpg), or JSON"
            );
            return Err(Problem::new(415, "unsupported_media_type", message));
        }
    };
    if let Some(top) = query.top {
        asked.top = top;
    }
    if let Some(classes) = query.classes {
        asked.classes = Some(listed(&classes)?);
    }
    if asked.top == 0 || asked.top > MOST_TOP {
        return Err(Problem::bad_request(format!(
            "top is {}, but must be from 1 to {MOST_TOP}",
            asked.top
        )));
    }
    match asked.pictures.len() {
        0 => Err(Problem::new(
            400,
            "no_images",
            "the request has no picture; send at least one",
        )),
        n if n > most => Err(too_many(most)),
        _ => Ok(asked),
    }
}

fn too_many(most: usize) -> Problem {
    let message =
        format!("the request has more than {most} pictures; spread them over several requests");
    Problem::new(413, "too_many_images", message)
}

fn from_bytes(bytes: Bytes) -> Asked {
    Asked {
        pictures: vec![Picture {
            id: None,
            bytes: Ok(bytes),
        }],
        classes: None,
        top: TOP,
    }
}

fn from_json(body: &[u8], most: usize) -> Result<Asked, Problem> {
    let request: ClassifyRequest<'_> = serde_json::from_slice(body).map_err(|error| {
        Problem::bad_request(format!(
            "the request is not the JSON that is read here: {error}; see /docs"
        ))
    })?;
    if request.images.len() > most {
        return Err(too_many(most));
    }
    let pictures = request.images.into_iter().map(|picture| {
        let text = picture.base64.trim();
        let text = match text.strip_prefix("data:") {
            Some(url) => url.split_once(',').map_or("", |(_, data)| data),
            None => text,
        };
        let bytes = BASE64
            .decode(text)
            .map(Bytes::from)
            .map_err(Failure::Base64);
        Picture {
            id: picture.id.map(shortened),
            bytes,
        }
    });
    Ok(Asked {
        pictures: pictures.collect(),
        classes: request.classes,
        top: request.top.unwrap_or(TOP),
    })
}

async fn from_form(content_type: &str, body: Bytes, most: usize) -> Result<Asked, Problem> {
    let bad =
        |error: multer::Error| Problem::bad_request(format!("the form cannot be read: {error}"));
    let boundary = multer::parse_boundary(content_type).map_err(bad)?;
    let stream = futures_util::stream::once(async { Ok::<_, Infallible>(body) });
    let mut form = Multipart::new(stream, boundary);
    let mut asked = Asked {
        pictures: Vec::new(),
        classes: None,
        top: TOP,
    };
    while let Some(part) = form.next_field().await.map_err(bad)? {
        match part.name() {
            Some("top") => {
                let text = part.text().await.map_err(bad)?;
                let number = text.trim().parse();
                asked.top =
                    number.map_err(|_| Problem::bad_request("the part `top` is no number"))?;
            }
            Some("classes") => asked.classes = Some(listed(&part.text().await.map_err(bad)?)?),
            _ if asked.pictures.len() >= most => return Err(too_many(most)),
            _ => asked.pictures.push(file(part).await.map_err(bad)?),
        }
    }
    Ok(asked)
}

async fn file(part: Field<'_>) -> Result<Picture, multer::Error> {
    let id = part
        .file_name()
        .or(part.name())
        .map(|name| shortened(name.to_owned()));
    Ok(Picture {
        id,
        bytes: Ok(part.bytes().await?),
    })
}

/// A JSON list, or names separated by commas.
fn listed(text: &str) -> Result<Vec<String>, Problem> {
    if text.trim_start().starts_with('[') {
        let broken =
            |error| Problem::bad_request(format!("classes are no JSON list of names: {error}"));
        return serde_json::from_str(text).map_err(broken);
    }
    Ok(text
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect())
}

/// A name as the answer repeats it: of a length that nobody can misuse.
fn shortened(name: String) -> String {
    match name.char_indices().nth(200) {
        Some((at, _)) => name[..at].to_owned(),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<Asked, Problem> {
        from_json(text.as_bytes(), 2)
    }

    #[test]
    fn base64_comes_in_several_clothes() {
        let asked = json(
            r#"{"images": [{"id": "a", "base64": "data:image/png;base64,aGk="}, {"base64": " aGk\n"}], "top": 7}"#,
        )
        .unwrap();
        assert!(
            asked
                .pictures
                .iter()
                .all(|p| p.bytes.as_ref().unwrap() == "hi"),
            "{asked:?}"
        );
        assert_eq!((asked.pictures[0].id.as_deref(), asked.top), (Some("a"), 7));
        let asked = json(r#"{"images": [{"base64": "a*"}, {"base64": "data:x"}]}"#).unwrap();
        assert!(matches!(asked.pictures[0].bytes, Err(Failure::Base64(_))));
        assert_eq!(asked.pictures[1].bytes.as_ref().unwrap().len(), 0);
    }

    #[test]
    fn json_that_is_not_understood_is_refused() {
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
    fn names_come_as_json_or_with_commas() {
        assert_eq!(listed("cat, dog,").unwrap(), ["cat", "dog"]);
        assert_eq!(
            listed(r#" ["cat, of sorts", "dog"]"#).unwrap(),
            ["cat, of sorts", "dog"]
        );
        assert!(listed("[1]").is_err());
        assert_eq!(shortened("é".repeat(300)).chars().count(), 200);
    }
}
