//! The value of `issue` and `issuewild`: an authority's name and parameters (RFC 8659, 4.2).

use crate::name::DomainName;

/// Most parameters: the standards know two.
const MAX_PARAMETERS: usize = 16;

/// A value that authorities can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueValue {
    issuer: Option<DomainName>,
    parameters: Vec<(String, String)>,
}

/// Why a value is of no use: such a record permits nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// bytes that a value cannot have
    #[error("byte {byte:#04x} at offset {offset}, expected printable ASCII")]
    Byte {
        /// The byte.
        byte: u8,
        /// Its position.
        offset: usize,
    },
    /// no name of an authority
    #[error("{0:?} is no name of an authority")]
    Issuer(String),
    /// a parameter of another form
    #[error("the parameter {0:?}: expected a tag, = and a value")]
    Parameter(String),
    /// a parameter twice, or more of them than there may be
    #[error("{0:?} repeats a parameter, or there are more than {MAX_PARAMETERS}")]
    Repeated(String),
}

impl IssueValue {
    /// Reads a value.
    ///
    /// # Errors
    /// If it is not of the form that the standard gives.
    pub fn parse(value: &[u8]) -> Result<Self, ValueError> {
        let printable = |byte: u8| matches!(byte, b'\t' | b' '..=b'~');
        if let Some(offset) = value.iter().position(|byte| !printable(*byte)) {
            return Err(ValueError::Byte { byte: value[offset], offset });
        }
        let text = String::from_utf8_lossy(value);
        let mut parts = text.split(';').map(|part| part.trim_matches([' ', '\t']));
        let issuer = match parts.next().unwrap_or_default() {
            "" => None,
            name => Some(name.parse().map_err(|_| ValueError::Issuer(name.to_owned()))?),
        };
        let mut parameters: Vec<(String, String)> = Vec::new();
        // The standard ends with a parameter; authorities read a final semicolon all the same.
        for part in parts.filter(|part| !part.is_empty()) {
            let (tag, value) = parameter(part)?;
            if parameters.len() == MAX_PARAMETERS || parameters.iter().any(|(old, _)| *old == tag) {
                return Err(ValueError::Repeated(part.to_owned()));
            }
            parameters.push((tag, value));
        }
        Ok(Self { issuer, parameters })
    }

    /// The authority; none where nobody may issue.
    pub fn issuer(&self) -> Option<&DomainName> {
        self.issuer.as_ref()
    }

    /// The value of a parameter.
    pub fn parameter(&self, tag: &str) -> Option<&str> {
        self.parameters.iter().find(|(found, _)| found == tag).map(|(_, value)| value.as_str())
    }
}

fn parameter(part: &str) -> Result<(String, String), ValueError> {
    let wrong = || ValueError::Parameter(part.to_owned());
    let (tag, value) = part.split_once('=').ok_or_else(wrong)?;
    let [tag, value] = [tag, value].map(|text| text.trim_matches([' ', '\t']));
    let tag_fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if tag.is_empty() || !tag.bytes().all(tag_fits) || value.contains([' ', '\t']) {
        return Err(wrong());
    }
    Ok((tag.to_ascii_lowercase(), value.to_owned()))
}
