//! The text of an error that has causes.

use std::error::Error;

/// An error and its causes on one line; a cause that the text holds already is not repeated.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let message = cause.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("the file")]
        Named(#[source] Inner),
        #[error("the file: {0}")]
        Printed(#[source] Inner),
        #[error(transparent)]
        Same(#[from] Inner),
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the byte 7")]
    struct Inner(#[source] Innermost);

    #[derive(Debug, thiserror::Error)]
    #[error("not UTF-8")]
    struct Innermost;

    #[test]
    fn every_message_stands_once() {
        let inner = || Inner(Innermost);
        assert_eq!(chain(&Outer::Named(inner())), "the file: the byte 7: not UTF-8");
        assert_eq!(chain(&Outer::Printed(inner())), "the file: the byte 7: not UTF-8");
        assert_eq!(chain(&Outer::Same(inner())), "the byte 7: not UTF-8");
    }
}
