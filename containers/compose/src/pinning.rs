//! Writing digests behind the tags of a compose file, changing nothing else.
//!
//! Which images are not pinned is read from the YAML; what is changed is the text. A change counts
//! only if the changed text, read again, is the same document but for that image.

use super::document::{self, DocumentError, Node, Value};
use super::program;
use super::reference::{ImageName, ReferenceError};
use crate::digest::ContentDigest;

/// An image that is named by tag, or by nothing but its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpinned {
    /// The service that runs it; the first one, if an anchor gives it to several.
    pub service: String,
    /// The line that names it, counted from 1.
    pub line: usize,
    /// What is written.
    pub text: String,
    /// What that means.
    pub name: ImageName,
}

/// Why images cannot be pinned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// the text is no document at all
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// the name of an image has a variable in it
    #[error("line {line}: {text:?} has a variable, whose value decides what a digest would be of")]
    Variable {
        /// Line, counted from 1.
        line: usize,
        /// What is written.
        text: String,
    },
    /// what is written names no image
    #[error("line {line}: {cause}")]
    Name {
        /// Line, counted from 1.
        line: usize,
        /// The error that was met.
        cause: ReferenceError,
    },
    /// the text of the image is not on its line as it is read
    #[error("line {line}: {text:?} cannot be changed where it stands")]
    Place {
        /// Line, counted from 1.
        line: usize,
        /// What is read there.
        text: String,
    },
}

/// The images of a compose file without a digest, in file order, those of one place once.
pub fn unpinned(bytes: &[u8]) -> Result<Vec<Unpinned>, PinError> {
    let root = document::parse_with_merge_tags(bytes)?;
    let mut found: Vec<Unpinned> = Vec::new();
    for (service, line, text) in images(&root) {
        let known = |other: &Unpinned| (other.line, other.text.as_str()) == (line, text);
        if text.contains('@') || found.iter().any(known) {
            continue;
        }
        if text.contains('$') {
            return Err(PinError::Variable { line, text: text.to_owned() });
        }
        let name = ImageName::parse(text).map_err(|cause| PinError::Name { line, cause })?;
        found.push(Unpinned { service: service.to_owned(), line, text: text.to_owned(), name });
    }
    Ok(found)
}

/// `text` with `digest` behind every image that has none, of whatever it is: for measuring what
/// else a file asks for, never for running it.
pub fn with_placeholder(text: &str, digest: ContentDigest) -> Result<String, DocumentError> {
    let mut text = text.to_owned();
    let root = document::parse_with_merge_tags(text.as_bytes())?;
    for (service, line, image) in images(&root) {
        // An anchor gives several services one image, which is pinned already then.
        if !image.contains('@')
            && let Ok(pinned) = pin_at(&text, service, line, image, digest)
        {
            text = pinned;
        }
    }
    Ok(text)
}

/// `text` with `digest` behind the image; tag and everything else stay as they are.
pub fn pin(text: &str, image: &Unpinned, digest: ContentDigest) -> Result<String, PinError> {
    pin_at(text, &image.service, image.line, &image.text, digest)
}

fn pin_at(
    text: &str,
    service: &str,
    line: usize,
    image: &str,
    digest: ContentDigest,
) -> Result<String, PinError> {
    let failed = || PinError::Place { line, text: image.to_owned() };
    let before = document::parse_with_merge_tags(text.as_bytes())?;
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let line = text[start..].split_inclusive('\n').next().ok_or_else(failed)?;
    let pinned = format!("{image}@{digest}");
    let changed = line.match_indices(image).map(|(at, _)| {
        let end = start + at + image.len();
        format!("{}@{digest}{}", &text[..end], &text[end..])
    });
    let mut good = changed.filter(|candidate| {
        let Ok(after) = document::parse_with_merge_tags(candidate.as_bytes()) else { return false };
        let is_pinned = images(&after).any(|(name, _, text)| name == service && text == pinned);
        is_pinned && same(&before, &after, image, &pinned)
    });
    good.next().ok_or_else(failed)
}

/// `text` with `image` as the image of `service`, in the place of the one that is named or of what
/// builds it; `None` if the text names neither.
pub fn set_image(text: &str, service: &str, image: &str) -> Result<Option<String>, PinError> {
    let before = document::parse_with_merge_tags(text.as_bytes())?;
    let services = entry(&before, "services").map(entries).unwrap_or_default();
    let Some(place) = services.iter().find(|known| known.key == service) else { return Ok(None) };
    let find = |key: &str| entries(&place.node).iter().find(|entry| entry.key == key);
    let (named, built) = (find("image"), find("build"));
    let Some(line) = named.or(built).map(|entry| entry.line) else { return Ok(None) };
    let failed = || PinError::Place { line, text: service.to_owned() };
    let mut changed = text.to_owned();
    if let Some(named) = named {
        let Value::Scalar { text: old, .. } = &named.node.value else { return Err(failed()) };
        changed = replaced(&changed, named.node.line, old, image).ok_or_else(failed)?;
    }
    if let Some(built) = built {
        let instead = if named.is_none() { Some(image) } else { None };
        changed = without_block(&changed, built.line, "build:", instead).ok_or_else(failed)?;
    }
    let after = document::parse_with_merge_tags(changed.as_bytes()).map_err(|_| failed())?;
    let wanted = with_image(&before, service, image);
    if same(&wanted, &after, "", "") { Ok(Some(changed)) } else { Err(failed()) }
}

/// The image that the text names for `service`, as written.
pub fn image_of(text: &str, service: &str) -> Option<String> {
    let root = document::parse_with_merge_tags(text.as_bytes()).ok()?;
    let mut images = images(&root).filter(|(name, ..)| *name == service);
    images.next().map(|(_, _, image)| image.to_owned())
}

/// Whether the text says that `service` is a program for the sandbox of Pads.
pub fn is_program(text: &str, service: &str) -> bool {
    let Ok(root) = document::parse_with_merge_tags(text.as_bytes()) else { return false };
    let services = entry(&root, "services");
    let platform = services
        .and_then(|services| entry(services, service))
        .and_then(|service| entry(service, "platform"));
    platform.is_some_and(
        |it| matches!(&it.value, Value::Scalar { text, .. } if text == program::PLATFORM),
    )
}

/// The text with `old` on its line replaced, where it stands there once.
fn replaced(text: &str, line: usize, old: &str, new: &str) -> Option<String> {
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let line = text[start..].split_inclusive('\n').next()?;
    let value = line.find("image:").map_or(0, |at| at + "image:".len());
    let at = start + value + line[value..].find(old)?;
    Some(format!("{}{new}{}", &text[..at], &text[at + old.len()..]))
}

/// The text without the block that begins with `key` on `line`, or with an image there instead.
fn without_block(text: &str, line: usize, key: &str, image: Option<&str>) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let first = lines.get(line - 1)?;
    let indent = first.len() - first.trim_start().len();
    if !first.trim_start().starts_with(key) {
        return None;
    }
    let inner = |line: &&str| line.len() - line.trim_start().len() > indent;
    let mut end = line;
    for (at, text) in lines.iter().enumerate().skip(line) {
        match text.trim_start() {
            "" => {}
            rest if rest.starts_with('#') => {}
            _ if inner(text) => end = at + 1,
            _ => break,
        }
    }
    let instead = image.map(|image| format!("{}image: {image}\n", &first[..indent]));
    Some([lines[..line - 1].concat(), instead.unwrap_or_default(), lines[end..].concat()].concat())
}

/// The document that [`set_image`] must give.
fn with_image(before: &Node, service: &str, image: &str) -> Node {
    let mut wanted = before.clone();
    let inner = |node: &mut Node, key: &str| match &mut node.value {
        Value::Mapping(entries) => entries.iter().position(|entry| entry.key == key),
        _ => None,
    };
    let mut node = &mut wanted;
    for key in ["services", service] {
        let Some(at) = inner(node, key) else { return before.clone() };
        let Value::Mapping(entries) = &mut node.value else { return before.clone() };
        node = &mut entries[at].node;
    }
    if let Value::Mapping(entries) = &mut node.value {
        let named = entries.iter().any(|entry| entry.key == "image");
        if named {
            entries.retain(|entry| entry.key != "build");
        }
        for entry in entries.iter_mut().filter(|entry| entry.key == "image" || entry.key == "build")
        {
            let plain = match &entry.node.value {
                Value::Scalar { plain, .. } if entry.key == "image" => *plain,
                _ => true,
            };
            entry.key = "image".to_owned();
            entry.node.value = Value::Scalar { text: image.to_owned(), plain };
        }
    }
    wanted
}

/// Service, line and image of every service that has one.
fn images(root: &Node) -> impl Iterator<Item = (&str, usize, &str)> {
    let services = entry(root, "services").map(entries).unwrap_or_default();
    services.iter().filter_map(|service| {
        let image = entry(&service.node, "image")?;
        match &image.value {
            Value::Scalar { text, .. } if !image.is_null() => {
                Some((service.key.as_str(), image.line, text.as_str()))
            }
            _ => None,
        }
    })
}

fn entries(node: &Node) -> &[document::Entry] {
    match &node.value {
        Value::Mapping(entries) => entries,
        _ => &[],
    }
}

fn entry<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    entries(node).iter().find(|entry| entry.key == key).map(|entry| &entry.node)
}

/// Whether two documents are the same, but that `after` may have `pinned` where `before` has `old`.
fn same(before: &Node, after: &Node, old: &str, pinned: &str) -> bool {
    match (&before.value, &after.value) {
        (Value::Scalar { text: b, plain: p }, Value::Scalar { text: a, plain: q }) => {
            p == q && (a == b || (b == old && a == pinned))
        }
        (Value::Sequence(b), Value::Sequence(a)) => {
            b.len() == a.len() && b.iter().zip(a).all(|(b, a)| same(b, a, old, pinned))
        }
        (Value::Mapping(b), Value::Mapping(a)) => {
            let pairs =
                b.iter().zip(a).all(|(b, a)| b.key == a.key && same(&b.node, &a.node, old, pinned));
            b.len() == a.len() && pairs
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";

    fn all(text: &str) -> Result<String, PinError> {
        let mut text = text.to_owned();
        while let Some(image) = unpinned(text.as_bytes())?.first() {
            text = pin(&text, image, DIGEST.parse().expect("digest"))?;
        }
        Ok(text)
    }

    #[test]
    fn a_program_says_so() {
        let text = "services: {web: {image: a}, mean: {platform: wasi/wasm}, x: {platform: linux/amd64}, y: []}";
        let programs = ["web", "mean", "x", "y", "none"].map(|name| is_program(text, name));
        assert_eq!(programs, [false, true, false, false, false]);
        assert!(!is_program("services: [", "web"));
    }

    #[test]
    fn only_images_change() {
        for text in [
            "services:\n  web:\n    image: nginx:1.27>>  # why\n    command: nginx:1.27\n",
            "services:\r\n  web:\r\n    image: \"nginx>>\"\r\n",
            "services: {nginx: {command: nginx, image: nginx>>}, b: {image: 'x:1>>', command: x}}\n",
            "x-a: &a\n  image: a.b/c:2>>\nservices:\n  web:\n    <<: *a\n  db:\n    <<: *a\n",
            "services:\n  image:\n    image: image>>\n    labels: {image: image}\n",
        ] {
            let expected = text.replace(">>", &format!("@{DIGEST}"));
            assert_eq!(all(&text.replace(">>", "")), Ok(expected.clone()));
            assert_eq!(all(&expected), Ok(expected), "pinned already");
        }
    }

    #[test]
    fn an_image_takes_the_place_of_another_or_of_what_builds_it() {
        let image = format!("a@{DIGEST}");
        let set = |text: &str| set_image(text, "web", &image);
        for (before, after) in [
            (
                "services:\n  web:\n    image: old:1  # c\n    user: u\n",
                "services:\n  web:\n    image: IMAGE  # c\n    user: u\n",
            ),
            (
                "services:\n  web:\n    build:\n      context: .\n\n      args: {A: 1}\n    # c\n    user: u\n",
                "services:\n  web:\n    image: IMAGE\n    # c\n    user: u\n",
            ),
            (
                "services:\n  web:\n    build: .\n    image: 'image:1'\n",
                "services:\n  web:\n    image: 'IMAGE'\n",
            ),
            (
                "services: {web: {image: x, command: x}}\n",
                "services: {web: {image: IMAGE, command: x}}\n",
            ),
        ] {
            let after = after.replace("IMAGE", &image);
            assert_eq!(set(before), Ok(Some(after.clone())), "{before}");
            assert_eq!(set(&after), Ok(Some(after.clone())), "a second time");
        }
        assert_eq!(set("services:\n  web: {user: u}\n  db: {image: x}\n"), Ok(None));
        // What several services share is not changed for one.
        let shared = "x-a: &a\n  image: x\nservices:\n  web:\n    <<: *a\n  db:\n    <<: *a\n";
        for text in [shared, "services: {web: {build: .}}\n"] {
            assert!(matches!(set(text), Err(PinError::Place { .. })), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_pinned_is_said() {
        let image = |written: &str| format!("services:\n  web:\n    image: {written}\n");
        assert!(matches!(all(&image("a:${TAG}")), Err(PinError::Variable { line: 3, .. })));
        assert!(matches!(all(&image("A")), Err(PinError::Name { line: 3, .. })));
        assert!(matches!(all(&image("\"a\\x3a1\"")), Err(PinError::Place { line: 3, .. })));
        assert!(matches!(all("a: ["), Err(PinError::Document(_))));
        assert_eq!(all("services:\n  web: {}\n").as_deref(), Ok("services:\n  web: {}\n"));
    }
}
