//! Relative paths of a file that lies in another directory than the app's: they are written anew,
//! so that they name the same files from the app directory.

use super::Fault;
use super::identity::fields;
use super::tree::{Content, Origin, Tree};

/// `path` as seen from the app directory, where `directory` is relative to that; no part of it is
/// `.` or `..`, but a path that leads out keeps its `..`.
pub(super) fn join(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The directory of a path; empty for a file of the app directory itself.
pub(super) fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Writes every relative path of `root`, a file of `directory`, anew.
pub(super) fn rebase(root: &mut Tree, directory: &str) -> Result<(), (Origin, Fault)> {
    if directory.is_empty() {
        return Ok(());
    }
    for key in ["configs", "secrets"] {
        let defined = root.get_mut(key).and_then(Tree::items_mut);
        for item in defined.into_iter().flatten() {
            each(item.tree.get_mut("file"), &mut |file| whole(file, directory))?;
        }
    }
    let services = root.get_mut("services").and_then(Tree::items_mut);
    for service in services.into_iter().flatten() {
        each(service.tree.get_mut("volumes"), &mut |mount| volume(mount, directory))?;
        for key in ["env_file", "label_file"] {
            each(service.tree.get_mut(key), &mut |file| match &file.content {
                Content::Mapping(_) => each(file.get_mut("path"), &mut |f| whole(f, directory)),
                _ => whole(file, directory),
            })?;
        }
    }
    Ok(())
}

type Changed = Result<(), (Origin, Fault)>;

/// The value, or each item of a list.
fn each(tree: Option<&mut Tree>, change: &mut dyn FnMut(&mut Tree) -> Changed) -> Changed {
    match tree {
        None => Ok(()),
        Some(Tree { content: Content::Sequence(trees), .. }) => {
            trees.iter_mut().try_for_each(change)
        }
        Some(tree) => change(tree),
    }
}

fn whole(tree: &mut Tree, directory: &str) -> Changed {
    let origin = tree.origin;
    if let Content::Scalar { text, .. } = &mut tree.content {
        if text.starts_with('$') {
            return Err((origin, Fault::VariablePath(text.clone())));
        }
        if !text.starts_with(['/', '~']) {
            *text = format!("./{}", join(directory, text));
        }
    }
    Ok(())
}

/// The source of a bind mount in either form; named volumes have no path.
fn volume(tree: &mut Tree, directory: &str) -> Changed {
    let origin = tree.origin;
    let bind = tree.get("type").and_then(Tree::text) == Some("bind");
    match &mut tree.content {
        Content::Mapping(_) if bind => {
            each(tree.get_mut("source"), &mut |source| whole(source, directory))
        }
        Content::Scalar { text, .. } => {
            let parts = fields(text);
            let [source, rest @ ..] = parts.as_slice() else { return Ok(()) };
            if rest.is_empty() {
                return Ok(());
            }
            if source.starts_with('$') {
                return Err((origin, Fault::VariablePath(text.clone())));
            }
            if source.starts_with('.') {
                *text = format!("./{}:{}", join(directory, source), rest.join(":"));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
