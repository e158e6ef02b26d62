//! Reference values for a KMS: by an image's image.json it predicts the registers of guests.

use protocol::digest::OsImageHash;
use protocol::kms::PutImageRequest;
use protocol::prpc::Empty;

use super::channel::Calls;
use crate::failure::{Hint as _, Outcome};
use crate::output::Output;

/// Uploads an image.json.
pub fn put_image(kms: &mut impl Calls, image_json: &[u8], output: &Output) -> Outcome<()> {
    let text = std::str::from_utf8(image_json).hint("image.json", "it must be UTF-8 text")?;
    let _: Empty = kms.call("PutImage", &PutImageRequest { image: text.to_owned() })?;
    output.step(&format!(
        "the KMS has the reference values of image {}",
        OsImageHash::of(image_json)
    ));
    Ok(())
}
