//! Whether the image that a guest is judged by is the one that the verifier's signers vouch for.
//!
//! Counting signatures comes before; here the signed statement is compared with the image that was
//! read, whatever lay in its directory when the signatures were counted.

use protocol::digest::{OsImageHash, Sha256Digest};
use protocol::image::Flavour;

use crate::image::Image;

/// What enough signers say of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// SHA-256 of its image.json.
    pub image_json: Sha256Digest,
    /// Its flavour, as the statement names it.
    pub flavour: String,
}

/// Why an image is not the released one, or not accepted although it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotVouched {
    /// another image than the signers vouch for
    #[error("image.json has the SHA-256 {found}, but the signers vouch for {expected}")]
    OtherImage {
        /// SHA-256 in the statement.
        expected: Sha256Digest,
        /// SHA-256 of the file that was read.
        found: OsImageHash,
    },
    /// an image of another flavour than the statement's
    #[error("the signers vouch for a {stated} image, but image.json is of a {found} image")]
    OtherFlavour {
        /// The flavour in the statement.
        stated: String,
        /// The flavour of the image.
        found: &'static str,
    },
    /// a dev image, whose signers vouch for its bytes and for no hardware
    #[error("the signers vouch for a dev image, which proves nothing about hardware")]
    Dev,
}

impl NotVouched {
    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::OtherImage { .. } | Self::OtherFlavour { .. } => {
                "do not use it; tell its signers"
            }
            Self::Dev => "take a release of the flavour release, or say --danger-accept-emulated",
        }
    }
}

impl Release {
    /// Checks that an image is the released one, of the stated flavour.
    pub fn vouches_for(
        &self,
        os_image_hash: OsImageHash,
        flavour: Flavour,
    ) -> Result<(), NotVouched> {
        if self.image_json.0 != os_image_hash.0 {
            let expected = self.image_json;
            return Err(NotVouched::OtherImage { expected, found: os_image_hash });
        }
        let found = flavour.name();
        if self.flavour != found {
            return Err(NotVouched::OtherFlavour { stated: self.flavour.clone(), found });
        }
        Ok(())
    }

    /// Checks that an image may be judged by: it is the released one, and for hardware unless the
    /// verifier accepts an emulator by a word with danger in it.
    pub fn accepts(&self, image: &Image, danger_accept_emulated: bool) -> Result<(), NotVouched> {
        self.vouches_for(image.os_image_hash(), image.flavour())?;
        if image.flavour() == Flavour::Dev && !danger_accept_emulated {
            return Err(NotVouched::Dev);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_image_and_another_flavour_are_not_vouched_for() {
        let release = Release { image_json: Sha256Digest([1; 32]), flavour: "release".into() };
        let image = OsImageHash([1; 32]);
        assert_eq!(release.vouches_for(image, Flavour::Release), Ok(()));
        let other = release.vouches_for(OsImageHash([2; 32]), Flavour::Release);
        assert!(matches!(other, Err(NotVouched::OtherImage { .. })));
        let dev = release.vouches_for(image, Flavour::Dev);
        assert!(matches!(dev, Err(NotVouched::OtherFlavour { found: "dev", .. })));
    }
}
