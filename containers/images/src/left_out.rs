//! What of a layer its directory does not have, for people: device nodes, and attributes without a
//! meaning in a guest.

use std::collections::BTreeMap;

/// Device nodes that are named one by one; an image has a dozen, an attacker's has millions.
const MAX_NAMED: usize = 16;

/// What was left out of one layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    devices: Vec<String>,
    more_devices: usize,
    /// By name of the attribute: the first path that has it, and how many others have.
    attributes: BTreeMap<&'static str, (String, usize)>,
}

impl LeftOut {
    /// A device node.
    pub(super) fn device(&mut self, path: String) {
        match self.devices.len() < MAX_NAMED {
            true => self.devices.push(path),
            false => self.more_devices += 1,
        }
    }

    /// An extended attribute of a path.
    pub(super) fn attribute(&mut self, name: &'static str, path: String) {
        self.attributes
            .entry(name)
            .and_modify(|(_, others)| *others += 1)
            .or_insert_with(|| (path, 0));
    }

    /// One sentence each, without final dot.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> =
            self.devices.iter().map(|path| format!("device node {path:?} is left out")).collect();
        if self.more_devices > 0 {
            notes.push(format!("{} more device nodes are left out", self.more_devices));
        }
        notes.extend(self.attributes.iter().map(|(name, (path, others))| match others {
            0 => format!("attribute {name} of {path:?} is left out"),
            others => format!("attribute {name} of {path:?} and {others} more is left out"),
        }));
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_name_paths_and_stay_few() {
        let mut left_out = LeftOut::default();
        assert_eq!(left_out.notes(), Vec::<String>::new());
        (0..1000).for_each(|number| left_out.device(format!("dev/{number}")));
        (0..3).for_each(|number| left_out.attribute("security.ima", format!("bin/{number}")));
        let notes = left_out.notes();
        assert_eq!(notes.len(), MAX_NAMED + 2);
        assert_eq!(notes[0], "device node \"dev/0\" is left out");
        assert_eq!(notes[MAX_NAMED], "984 more device nodes are left out");
        assert_eq!(
            notes[MAX_NAMED + 1],
            "attribute security.ima of \"bin/0\" and 2 more is left out"
        );
    }
}
