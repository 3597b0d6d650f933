//! Scrub: no secret of this call goes back to the agent.
//!
//! An upstream echoes what it was sent: in an error page, a `Location`, a debug endpoint. What is sought came
//! sealed with the lease, as keyed windows of every secret of the connection; [`nightlatch_scrub`] finds them in any
//! cut of a stream and masks them by the same number of `*`, so lengths still hold. Here is what HTTP adds to that.

use http::{HeaderMap, HeaderValue};
use nightlatch_scrub::Masks;

/// Masks the values of a head, and says how many secrets stood in it. A field whose name itself holds
/// a secret is left out.
pub(crate) fn head(masks: &Masks, headers: &HeaderMap) -> (HeaderMap, u64) {
    let (mut clean, mut found) = (HeaderMap::with_capacity(headers.len()), 0);
    for (name, value) in headers {
        // Names arrive in lower case, whatever they were.
        if masks.is_in_lower(name.as_str().as_bytes()) {
            found += 1;
            continue;
        }
        let (bytes, secrets) = masks.whole(value.as_bytes());
        found += secrets;
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            clean.append(name, value);
        }
    }
    (clean, found)
}

#[cfg(test)]
mod tests {
    //! Values are masked; names that hold a secret go.

    use super::head;
    use http::HeaderMap;
    use nightlatch_scrub::{Masks, Needles, WindowSet};
    use std::sync::Arc;

    #[test]
    fn values_are_masked_and_names_that_hold_a_secret_are_left_out() {
        let mut fields = HeaderMap::new();
        fields.append("location", "https://x/?t=s3cret".parse().unwrap());
        fields.append("x-s3cret", "1".parse().unwrap());
        fields.append("etag", "\"1\"".parse().unwrap());
        let needles = ["S3cret", "s3cret"].map(|text| text.as_bytes().to_vec().into());
        let masks = Masks::new(Arc::new(WindowSet::empty()), Needles::new(needles.into()));
        let (clean, found) = head(&masks, &fields);
        assert_eq!(found, 2);
        assert_eq!(clean.get("location").unwrap(), "https://x/?t=******");
        assert_eq!(clean.get("etag").unwrap(), "\"1\"");
        assert_eq!(clean.len(), 2);
    }
}
