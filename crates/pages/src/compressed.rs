use std::io::Write as _;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::Request;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, Response};
use axum::middleware::Next;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Smaller ones fit one packet anyway.
const SMALLEST: u64 = 1_024;
/// Larger ones are no pages.
const LARGEST: u64 = 2 * 1_024 * 1_024;

/// Compresses pages and their files for browsers that want it, each of them whole, before
/// anything of it is sent: an encoder that waits for its reader holds a third of a megabyte
/// for as long as the reader likes.
pub async fn compressed(request: Request, next: Next) -> Response<Body> {
    let is_wanted = takes_gzip(request.headers());
    let mut response = next.run(request).await;
    if !is_page(&response) {
        return response;
    }
    response.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
    if !is_wanted {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // It is in memory already, so that nothing can fail here.
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return Response::from_parts(parts, Body::empty());
    };
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 3), Compression::fast());
    let Ok(written) = encoder.write_all(&bytes).and_then(|()| encoder.finish()) else {
        return Response::from_parts(parts, bytes.into());
    };
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(parts, written.into())
}

fn is_page(response: &Response<Body>) -> bool {
    let headers = response.headers();
    let size = response.body().size_hint().exact();
    let of_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    size.is_some_and(|size| (SMALLEST..=LARGEST).contains(&size))
        && !headers.contains_key(CONTENT_ENCODING)
        && of_type.is_some_and(|of_type| {
            ["text/html", "text/css", "text/javascript", "image/svg+xml"]
                .iter()
                .any(|page| of_type.starts_with(page))
        })
}

/// RFC 9110, 12.5.3.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let listed = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    listed.flat_map(|list| list.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
        name.trim().eq_ignore_ascii_case("gzip")
            && weight.trim().parse::<f32>().is_ok_and(|weight| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use axum::Router;
    use axum::middleware::from_fn;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::{HTMX, ICON};

    async fn get(path: &str, accepted: &str) -> Response<Body> {
        let app: Router = crate::assets().layer(from_fn(compressed));
        let request = Request::get(path).header(ACCEPT_ENCODING, accepted);
        app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn bytes(response: Response<Body>) -> Vec<u8> {
        response.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn a_file_is_compressed_whole_for_who_wants_it() {
        let plain = get(HTMX, "br, gzip;q=0, identity").await;
        assert!(plain.headers().get(CONTENT_ENCODING).is_none());
        assert_eq!(plain.headers()[VARY], "accept-encoding");
        let plain = bytes(plain).await;

        let zipped = get(HTMX, "br;q=1.0, GZIP;q=0.5").await;
        assert_eq!(zipped.headers()[CONTENT_ENCODING], "gzip");
        assert!(zipped.body().size_hint().exact().is_some_and(|size| size < 20_000));
        let (zipped, mut unzipped) = (bytes(zipped).await, Vec::new());
        flate2::read::GzDecoder::new(&*zipped).read_to_end(&mut unzipped).unwrap();
        assert_eq!(unzipped, plain);

        let small = get(ICON, "gzip").await;
        assert!(small.headers().get(CONTENT_ENCODING).is_none());
    }
}
