//! A kept disk that moves to the key of another epoch, on the same machine.

use super::*;

/// Power cuts during the move; `DSTYX_LONG` makes twenty times as many.
const CUTS: usize = 3;

impl Victim {
    /// Whatever a power cut at a random moment of the move leaves, the next boot finishes; all
    /// files are then as they were written, under the new key and no other.
    pub(super) fn the_disk_moves_to_another_key(&mut self) {
        let to = key_of(3);
        let command = format!("move {} {}", hex::encode(self.key), hex::encode(to));
        self.rig.does("recall base");
        self.rig.disk().replace(self.disk.image().clone());
        self.rig.does(&command);
        let image = self.rig.disk().image().clone();
        let moved = self.rig.disk().replace(image.clone());
        let under_the_old_key = self.mounted(image, COUNTER, self.anchor);
        assert!(under_the_old_key.is_err_and(|fault| fault.starts_with("EINVAL")));

        let from = std::mem::replace(&mut self.key, to);
        for cut in 0..=many(CUTS) {
            let moment = match cut {
                0 => moved.now(),
                _ => self.dice.below(moved.now() + 1),
            };
            let left = moved.after_power_cut_at(moment, &mut self.dice);
            self.rig.disk().replace(left);
            self.rig.does(&command);
            let image = self.rig.disk().image().clone();
            self.rig.does("recall base");
            let outcome = self.read(image, self.anchor).unwrap();
            let described = format!("cut at {moment} of {}", moved.now());
            assert_eq!((outcome.failed, outcome.wrong), (0, 0), "{described}: {outcome:?}");
        }
        self.key = from;
        self.rig.does("recall base");
    }
}
