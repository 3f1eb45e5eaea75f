//! Which names are durable: the step from the names a program sees to those in the backing directory.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::tree::{Ino, Kind, ROOT, Tree, errno};
use super::{Forgotten, Survival};

/// Names with this beginning hold, for the time of one call, what is on its way to another name.
pub(super) const STAGED_PREFIX: &str = ".forgetfs-staged-";

/// What one operation did to one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) dir: Ino,
    pub(super) name: OsString,
    /// None: the name went away.
    pub(super) to: Option<Ino>,
}

type Name = (Ino, OsString);

impl Change {
    pub(super) fn new(dir: Ino, name: &OsStr, to: Option<Ino>) -> Self {
        Self { dir, name: name.to_owned(), to }
    }

    fn of(&self) -> Name {
        (self.dir, self.name.clone())
    }

    fn is_of(&self, name: &Name) -> bool {
        self.dir == name.0 && self.name == name.1
    }
}

impl Tree {
    /// `fsync` of a file: its content, and its name when it has no durable one.
    pub(super) fn sync_file(&mut self, ino: Ino) -> Result<(), Errno> {
        self.settle_first_name(ino)?;
        if self.inode(ino)?.places.is_empty() {
            return Ok(());
        }
        self.sync_content(ino)
    }

    /// `fsync` of a directory: the names in it, and its own when it has no durable one.
    pub(super) fn sync_directory(&mut self, dir: Ino) -> Result<(), Errno> {
        self.settle_first_name(dir)?;
        self.settle(self.pending_names(|change| change.dir == dir))
    }

    /// Loses power: what is not durable is gone, except for what `survival` lets through. Afterwards the tree
    /// is what the backing directory holds, under new inode numbers.
    pub(super) fn forget(&mut self, survival: Survival, random: &mut fastrand::Rng) -> io::Result<Forgotten> {
        let mut forgotten = Forgotten::default();
        let kept = match survival {
            Survival::Nothing => 0,
            Survival::Prefix | Survival::Subset => random.usize(0..=self.pending.len()),
        };
        forgotten.names = (self.pending.len() - kept) as u64;
        let changes = latest(self.pending.drain(..kept).flatten());
        self.apply(changes)?;
        self.pending.clear();
        let files: Vec<Ino> = self.inodes.keys().copied().collect();
        for ino in files {
            let is_placed = !self.inode(ino)?.places.is_empty();
            let Kind::File(content) = &self.inode(ino)?.kind else { continue };
            if content.is_dirty() {
                let survival = if is_placed { survival } else { Survival::Nothing };
                forgotten.bytes += self.content(ino)?.survive(survival, random)?;
                forgotten.files += 1;
            }
        }
        *self = Self::load(&self.backing, self.next_ino)?;
        Ok(forgotten)
    }

    /// Where the backing directory holds an inode, if it does.
    pub(super) fn durable_path(&self, ino: Ino) -> Option<PathBuf> {
        if ino == ROOT {
            return Some(self.backing.clone());
        }
        let (dir, name) = self.inodes.get(&ino)?.places.first()?;
        Some(self.durable_path(*dir)?.join(name))
    }

    /// Makes the present name of an inode durable when it has no durable one yet.
    fn settle_first_name(&mut self, ino: Ino) -> Result<(), Errno> {
        if self.is_durable(ino)? { Ok(()) } else { self.settle(self.names_of(ino)) }
    }

    /// Makes these names durable as they are now, with all that is tied to them.
    fn settle(&mut self, mut names: BTreeSet<Name>) -> Result<(), Errno> {
        loop {
            let tied: Vec<Name> = names.iter().flat_map(|name| self.tied_names(name)).collect();
            let before = names.len();
            names.extend(tied);
            if names.len() == before {
                break;
            }
        }
        let changes = self.take_pending(&names);
        self.apply(changes)
    }

    /// The names that become durable in one step with `name`.
    fn tied_names(&self, name: &Name) -> BTreeSet<Name> {
        let mut tied = BTreeSet::new();
        for changes in self.pending.iter().filter(|changes| changes.len() > 1) {
            if changes.iter().any(|change| change.is_of(name)) {
                tied.extend(changes.iter().map(Change::of));
            }
        }
        if !self.is_durable(name.0).unwrap_or(true) {
            tied.extend(self.names_of(name.0));
        }
        let displaced = self.directory(name.0).ok().and_then(|dir| dir.durable.get(&name.1).copied());
        if let Some(displaced) = displaced {
            // Its other names, and what was moved out of it, are older than the removal of this name.
            tied.extend(self.names_of(displaced));
            if self.inode(displaced).is_ok_and(|inode| inode.links == 0) {
                tied.extend(self.pending_names(|change| change.dir == displaced));
            }
        }
        tied
    }

    fn is_durable(&self, ino: Ino) -> Result<bool, Errno> {
        Ok(ino == ROOT || !self.inode(ino)?.places.is_empty())
    }

    fn names_of(&self, ino: Ino) -> BTreeSet<Name> {
        self.pending_names(|change| change.to == Some(ino))
    }

    fn pending_names(&self, of: impl Fn(&Change) -> bool) -> BTreeSet<Name> {
        self.pending.iter().flatten().filter(|change| of(change)).map(Change::of).collect()
    }

    /// Removes these names from the pending changes and returns what each of them is now.
    fn take_pending(&mut self, names: &BTreeSet<Name>) -> BTreeMap<Name, Option<Ino>> {
        let mut taken = Vec::new();
        for changes in &mut self.pending {
            changes.retain(|change| {
                let is_taken = names.contains(&(change.dir, change.name.clone()));
                if is_taken {
                    taken.push(change.clone());
                }
                !is_taken
            });
        }
        self.pending.retain(|changes| !changes.is_empty());
        latest(taken.into_iter())
    }

    /// Carries changes of names over to the backing directory. What is moved is staged first, so that names
    /// can be swapped; what is new or moved comes before what is removed, so that nothing is lost in between.
    fn apply(&mut self, changes: BTreeMap<Name, Option<Ino>>) -> Result<(), Errno> {
        let mut arrivals = BTreeMap::new();
        let mut departures = Vec::new();
        for ((dir, name), to) in changes {
            let Ok(directory) = self.directory(dir) else { continue };
            let durable = directory.durable.get(&name).copied();
            match to {
                Some(ino) if durable != Some(ino) && self.inodes.contains_key(&ino) => {
                    arrivals.insert((dir, name), ino);
                }
                None if durable.is_some() => departures.push((dir, name)),
                _ => {}
            }
        }
        let mut staged = BTreeMap::new();
        for (name, ino) in &arrivals {
            if let Some(place) = self.stage(*ino, staged.len())? {
                staged.insert(name.clone(), place);
            }
        }
        while let Some((name, ino)) = arrivals.pop_first() {
            self.arrive(name, ino, &mut arrivals, &mut staged)?;
        }
        for name in staged.into_values().chain(departures) {
            self.depart(&name)?;
        }
        Ok(())
    }

    /// Gives an inode that is durable a second name (a directory: another name) from which it is moved on.
    fn stage(&mut self, ino: Ino, number: usize) -> Result<Option<Name>, Errno> {
        let Some(path) = self.durable_path(ino) else { return Ok(None) };
        let name = OsString::from(format!("{STAGED_PREFIX}{number}"));
        let target = self.backing.join(&name);
        if self.inode(ino)?.as_directory().is_some() {
            fs::rename(path, target).map_err(|error| errno(&error))?;
            for (dir, old) in std::mem::take(&mut self.inode_mut(ino)?.places) {
                self.directory_mut(dir)?.durable.remove(&old);
            }
        } else {
            fs::hard_link(path, target).map_err(|error| errno(&error))?;
        }
        self.add_place(ino, (ROOT, name.clone()))?;
        Ok(Some((ROOT, name)))
    }

    fn arrive(
        &mut self,
        name: Name,
        ino: Ino,
        arrivals: &mut BTreeMap<Name, Ino>,
        staged: &mut BTreeMap<Name, Name>,
    ) -> Result<(), Errno> {
        if self.durable_path(name.0).is_none() {
            let above =
                arrivals.iter().find(|(_, arriving)| **arriving == name.0).map(|(above, _)| above.clone());
            if let Some((above, dir)) = above.and_then(|above| arrivals.remove_entry(&above)) {
                self.arrive(above, dir, arrivals, staged)?;
            }
        }
        let Some(dir) = self.durable_path(name.0) else { return Ok(()) };
        self.depart(&name)?;
        let target = dir.join(&name.1);
        match staged.remove(&name) {
            Some(from) => {
                fs::rename(self.backing.join(&from.1), &target).map_err(|error| errno(&error))?;
                self.remove_place(&from)?;
            }
            None => self.create_durable(ino, &target).map_err(|error| errno(&error))?,
        }
        self.add_place(ino, name)
    }

    fn create_durable(&mut self, ino: Ino, path: &Path) -> io::Result<()> {
        if let Some(first_name) = self.durable_path(ino) {
            return fs::hard_link(first_name, path);
        }
        let inode = self.inode_mut(ino)?;
        match &mut inode.kind {
            Kind::File(content) => {
                content.move_backing(File::options().read(true).write(true).create_new(true).open(path)?)?;
            }
            Kind::Directory(_) => fs::create_dir(path)?,
        }
        fs::set_permissions(path, Permissions::from_mode(u32::from(inode.perm)))?;
        std::os::unix::fs::chown(path, Some(inode.owner.uid), Some(inode.owner.gid))
    }

    /// Removes a durable name, and a directory with all that is durable in it. An open file stays readable.
    fn depart(&mut self, name: &Name) -> Result<(), Errno> {
        let Some(ino) = self.directory(name.0).ok().and_then(|dir| dir.durable.get(&name.1).copied()) else {
            return Ok(());
        };
        let Some(path) = self.durable_path(name.0).map(|dir| dir.join(&name.1)) else { return Ok(()) };
        match self.inode(ino)?.as_directory() {
            Some(directory) => {
                let names: Vec<OsString> = directory.durable.keys().cloned().collect();
                for inner in names {
                    self.depart(&(ino, inner))?;
                }
                fs::remove_dir(path).map_err(|error| errno(&error))?;
            }
            None => {
                self.content(ino)?;
                fs::remove_file(path).map_err(|error| errno(&error))?;
            }
        }
        self.remove_place(name)?;
        self.drop_if_unused(ino);
        Ok(())
    }

    fn add_place(&mut self, ino: Ino, name: Name) -> Result<(), Errno> {
        self.inode_mut(ino)?.places.push(name.clone());
        self.directory_mut(name.0)?.durable.insert(name.1, ino);
        Ok(())
    }

    fn remove_place(&mut self, name: &Name) -> Result<(), Errno> {
        if let Some(ino) = self.directory_mut(name.0)?.durable.remove(&name.1) {
            self.inode_mut(ino)?.places.retain(|place| place != name);
        }
        Ok(())
    }
}

fn latest(changes: impl Iterator<Item = Change>) -> BTreeMap<Name, Option<Ino>> {
    changes.map(|change| ((change.dir, change.name), change.to)).collect()
}
