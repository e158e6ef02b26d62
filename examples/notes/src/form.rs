//! `application/x-www-form-urlencoded`, read strictly: one known field and nothing that stands for
//! something else.

/// The content type of a form.
pub const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";

/// The value of a form that has exactly the field `name`.
pub fn only_field(body: &[u8], name: &str) -> Result<String, FormError> {
    let mut fields = body.split(|&byte| byte == b'&');
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return Err(FormError::Fields);
    };
    let value = field.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
    decode(value.ok_or(FormError::Fields)?)
}

fn decode(value: &[u8]) -> Result<String, FormError> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.iter();
    while let Some(&byte) = rest.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|&byte| hex(byte)).ok_or(FormError::Escape);
                digit()? << 4 | digit()?
            }
            b'*' | b'-' | b'.' | b'_' => byte,
            byte if byte.is_ascii_alphanumeric() => byte,
            other => return Err(FormError::Byte(other)),
        });
    }
    String::from_utf8(decoded).map_err(|_| FormError::Utf8)
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// Why a body is no form of the expected field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// the form has other fields than the one expected
    #[error("the form has other fields than the one expected")]
    Fields,
    /// a % is not followed by two hexadecimal digits
    #[error("a % is not followed by two hexadecimal digits")]
    Escape,
    /// the byte {0:#04x} must be escaped
    #[error("the byte {0:#04x} must be escaped")]
    Byte(u8),
    /// the field is not UTF-8
    #[error("the field is not UTF-8")]
    Utf8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_unescaped() {
        assert_eq!(
            only_field(b"text=a+b%26%3D%0D%0A%c3%A4*-._9", "text").unwrap(),
            "a b&=\r\nä*-._9"
        );
        assert_eq!(only_field(b"text=", "text").unwrap(), "");
    }

    #[test]
    fn other_bodies_are_refused() {
        for (body, error) in [
            (&b""[..], FormError::Fields),
            (b"text", FormError::Fields),
            (b"texts=a", FormError::Fields),
            (b"Text=a", FormError::Fields),
            (b"%74ext=a", FormError::Fields),
            (b"text=a&text=b", FormError::Fields),
            (b"text=a&", FormError::Fields),
            (b"text=a=b", FormError::Byte(b'=')),
            (b"text=<b>", FormError::Byte(b'<')),
            (b"text=\xc3\xa4", FormError::Byte(0xc3)),
            (b"text=a\0", FormError::Byte(0)),
            (b"text=%", FormError::Escape),
            (b"text=%4", FormError::Escape),
            (b"text=%+1", FormError::Escape),
            (b"text=%g0", FormError::Escape),
            (b"text=%ff", FormError::Utf8),
            (b"text=%c0%80", FormError::Utf8),
            (b"text=%ed%a0%80", FormError::Utf8),
        ] {
            assert_eq!(only_field(body, "text"), Err(error), "{}", body.escape_ascii());
        }
    }
}
