//! Statements of a custodian about a key, which its members may sign apart from each other.

use std::path::Path;

use pad_format::Custodian;
use pad_format::custodian::SignatureError;
use pad_format::grant::{GrantError, MAX_BYTES, Signed, Statement};

use super::keys::{MemberKeys, signed_by};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;

/// A statement with the signatures that there are.
pub struct Collected<T> {
    /// The statement.
    pub signed: Signed<T>,
    /// Whether as many members signed as decide.
    pub is_complete: bool,
}

/// A statement that waits in a file for signatures of more members.
///
/// # Errors
/// If the file is none.
pub fn waiting<T: Statement>(file: &Path) -> Outcome<Signed<T>> {
    let bytes = files::read_bounded(file, MAX_BYTES as u64)?;
    Signed::parse(&bytes).hint(file.display(), "give a file that --out wrote before")
}

/// Adds the signatures of these members.
///
/// # Errors
/// If one of them is no member, or an earlier signature is none.
pub fn collected<T: Statement + Clone>(
    mut signed: Signed<T>,
    custodian: &Custodian,
    members: &[MemberKeys],
) -> Outcome<Collected<T>> {
    for member in members {
        if !custodian.members().contains(&member.public()) {
            let what = format!("the key {} is no member of the custodian", member.public());
            return Err(Failure::new(what, "give the keys of its members"));
        }
    }
    signed.join(&signed_by(members, &signed.claimed().signed_bytes()));
    let is_complete = match signed.clone().verify(custodian) {
        Ok(_) => true,
        Err(GrantError::Signature(SignatureError::TooFew { .. })) => false,
        Err(error) => return Err(error).hint(T::NAME, "begin it anew"),
    };
    Ok(Collected { signed, is_complete })
}
