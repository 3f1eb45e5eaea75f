//! The files and directories as a program sees them, and the operations that change names.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::io::Errno;

use super::content::Content;
use super::names::{Change, STAGED_PREFIX};

/// Number of an inode. Never used twice, so that a program which lived through a loss of power (it should not
/// have) gets `ESTALE` instead of another file.
pub(super) type Ino = u64;
/// The top directory.
pub(super) const ROOT: Ino = 1;
/// Unsynced bytes that memory holds at most; beyond it the file that grows is written back, as a kernel
/// would.
const UNSYNCED_BYTES_MAX: u64 = 1 << 30;

/// What an inode is, and its attributes.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) kind: Kind,
    pub(super) perm: u16,
    pub(super) owner: Owner,
    pub(super) modified: SystemTime,
    /// Names that lead here now.
    pub(super) links: u32,
    /// References that the kernel holds.
    pub(super) lookups: u64,
    /// Names in the backing directory that lead here.
    pub(super) places: Vec<(Ino, OsString)>,
}

/// User and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// A file or a directory.
#[derive(Debug)]
pub(super) enum Kind {
    File(Content),
    Directory(Directory),
}

/// The names in a directory: now, and in the backing directory.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) parent: Ino,
    pub(super) names: BTreeMap<OsString, Ino>,
    pub(super) durable: BTreeMap<OsString, Ino>,
}

/// The whole file system in memory.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) backing: PathBuf,
    pub(super) inodes: BTreeMap<Ino, Inode>,
    /// Changes of names that are not durable, oldest first; those of one operation stand together.
    pub(super) pending: Vec<Vec<Change>>,
    pub(super) next_ino: Ino,
    unsynced_bytes: u64,
}

impl Tree {
    /// Reads the names below `backing`; contents stay there until they are asked for. Numbers new inodes from
    /// `next_ino` on.
    pub(super) fn load(backing: &Path, next_ino: Ino) -> io::Result<Self> {
        let mut tree = Self {
            backing: backing.to_owned(),
            inodes: BTreeMap::new(),
            pending: Vec::new(),
            next_ino: next_ino.max(ROOT + 1),
            unsynced_bytes: 0,
        };
        let metadata = fs::metadata(backing)?;
        let mut root = Inode::durable(Kind::directory(ROOT), &metadata);
        root.links = 1;
        tree.inodes.insert(ROOT, root);
        tree.load_directory(ROOT, backing, &mut BTreeMap::new())?;
        Ok(tree)
    }

    fn load_directory(&mut self, dir: Ino, path: &Path, linked: &mut BTreeMap<u64, Ino>) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
            if name.as_encoded_bytes().starts_with(STAGED_PREFIX.as_bytes()) {
                continue;
            }
            let metadata = fs::symlink_metadata(&path)?;
            let known = linked.get(&metadata.ino()).copied().filter(|_| metadata.is_file());
            let ino = known.unwrap_or_else(|| self.number());
            if metadata.is_file() {
                linked.insert(metadata.ino(), ino);
                let content = Content::durable(metadata.len());
                let fresh = || Inode::durable(Kind::File(content), &metadata);
                self.inodes.entry(ino).or_insert_with(fresh).links += 1;
            } else if metadata.is_dir() {
                let mut inode = Inode::durable(Kind::directory(dir), &metadata);
                inode.links = 1;
                self.inodes.insert(ino, inode);
                self.load_directory(ino, &path, linked)?;
            } else {
                let kinds = "only files and directories can be served";
                return Err(io::Error::other(format!("{}: {kinds}", path.display())));
            }
            if let Some(inode) = self.inodes.get_mut(&ino) {
                inode.places.push((dir, name.clone()));
            }
            if let Some(directory) = self.inodes.get_mut(&dir).and_then(Inode::as_directory_mut) {
                directory.names.insert(name.clone(), ino);
                directory.durable.insert(name, ino);
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Ino {
        self.next_ino += 1;
        self.next_ino - 1
    }

    pub(super) fn inode(&self, ino: Ino) -> Result<&Inode, Errno> {
        self.inodes.get(&ino).ok_or(Errno::STALE)
    }

    pub(super) fn inode_mut(&mut self, ino: Ino) -> Result<&mut Inode, Errno> {
        self.inodes.get_mut(&ino).ok_or(Errno::STALE)
    }

    pub(super) fn directory(&self, ino: Ino) -> Result<&Directory, Errno> {
        self.inode(ino)?.as_directory().ok_or(Errno::NOTDIR)
    }

    pub(super) fn directory_mut(&mut self, ino: Ino) -> Result<&mut Directory, Errno> {
        self.inode_mut(ino)?.as_directory_mut().ok_or(Errno::NOTDIR)
    }

    /// The content of a file, with its backing file open where it has one.
    pub(super) fn content(&mut self, ino: Ino) -> Result<&mut Content, Errno> {
        let path = self.durable_path(ino);
        let Kind::File(content) = &mut self.inode_mut(ino)?.kind else { return Err(Errno::ISDIR) };
        if let Some(path) = path {
            content.open_backing(&path).map_err(|error| errno(&error))?;
        }
        Ok(content)
    }

    /// The inode of a name.
    pub(super) fn lookup(&self, dir: Ino, name: &OsStr) -> Result<Ino, Errno> {
        self.directory(dir)?.names.get(name).copied().ok_or(Errno::NOENT)
    }

    /// Makes a file or a directory.
    pub(super) fn make(
        &mut self,
        dir: Ino,
        name: &OsStr,
        kind: Kind,
        perm: u16,
        owner: Owner,
    ) -> Result<Ino, Errno> {
        if self.directory(dir)?.names.contains_key(name) {
            return Err(Errno::EXIST);
        }
        let modified = SystemTime::now();
        let ino = self.number();
        let inode = Inode { kind, perm, owner, modified, links: 1, lookups: 0, places: Vec::new() };
        self.inodes.insert(ino, inode);
        self.change(vec![Change::new(dir, name, Some(ino))])?;
        Ok(ino)
    }

    /// Gives a file one more name.
    pub(super) fn link(&mut self, ino: Ino, dir: Ino, name: &OsStr) -> Result<(), Errno> {
        let inode = self.inode(ino)?;
        if inode.as_directory().is_some() {
            return Err(Errno::PERM);
        }
        if inode.links == 0 {
            return Err(Errno::NOENT);
        }
        if self.directory(dir)?.names.contains_key(name) {
            return Err(Errno::EXIST);
        }
        self.inode_mut(ino)?.links += 1;
        self.change(vec![Change::new(dir, name, Some(ino))])
    }

    /// Takes a file's name away.
    pub(super) fn unlink(&mut self, dir: Ino, name: &OsStr) -> Result<(), Errno> {
        let ino = self.lookup(dir, name)?;
        if self.inode(ino)?.as_directory().is_some() {
            return Err(Errno::ISDIR);
        }
        self.change(vec![Change::new(dir, name, None)])?;
        self.drop_link(ino)
    }

    /// Removes an empty directory.
    pub(super) fn remove_directory(&mut self, dir: Ino, name: &OsStr) -> Result<(), Errno> {
        let ino = self.lookup(dir, name)?;
        if !self.directory(ino)?.names.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.change(vec![Change::new(dir, name, None)])?;
        self.drop_link(ino)
    }

    /// Renames; what stood under the new name is replaced, unless `replace` is [`Replace::Refuse`].
    pub(super) fn rename(
        &mut self,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        replace: Replace,
    ) -> Result<(), Errno> {
        let ino = self.lookup(from.0, from.1)?;
        let replaced = self.directory(to.0)?.names.get(to.1).copied();
        if replaced == Some(ino) {
            return Ok(());
        }
        if let Some(old) = replaced {
            let is_directory = self.inode(ino)?.as_directory().is_some();
            match self.inode(old)?.as_directory() {
                _ if replace == Replace::Refuse => return Err(Errno::EXIST),
                Some(_) if !is_directory => return Err(Errno::ISDIR),
                None if is_directory => return Err(Errno::NOTDIR),
                Some(directory) if !directory.names.is_empty() => return Err(Errno::NOTEMPTY),
                _ => {}
            }
        }
        self.change(vec![Change::new(from.0, from.1, None), Change::new(to.0, to.1, Some(ino))])?;
        if let Some(directory) = self.inode_mut(ino)?.as_directory_mut() {
            directory.parent = to.0;
        }
        replaced.map_or(Ok(()), |old| self.drop_link(old))
    }

    /// Writes to a file's overlay.
    pub(super) fn write(&mut self, ino: Ino, offset: u64, data: &[u8]) -> Result<(), Errno> {
        self.content(ino)?.write(offset, data);
        self.inode_mut(ino)?.modified = SystemTime::now();
        self.unsynced_bytes += data.len() as u64;
        if self.unsynced_bytes > UNSYNCED_BYTES_MAX { self.sync_file(ino) } else { Ok(()) }
    }

    /// Makes a file's content durable, its name not.
    pub(super) fn sync_content(&mut self, ino: Ino) -> Result<(), Errno> {
        let content = self.content(ino)?;
        let bytes = content.unsynced_bytes();
        content.sync().map_err(|error| errno(&error))?;
        self.unsynced_bytes = self.unsynced_bytes.saturating_sub(bytes);
        Ok(())
    }

    /// The kernel let go of `count` references.
    pub(super) fn release(&mut self, ino: Ino, count: u64) {
        if let Ok(inode) = self.inode_mut(ino) {
            inode.lookups = inode.lookups.saturating_sub(count);
            self.drop_if_unused(ino);
        }
    }

    /// Frees what nobody can reach any more, and file handles that can be had again.
    pub(super) fn drop_if_unused(&mut self, ino: Ino) {
        let Some(inode) = self.inodes.get_mut(&ino).filter(|inode| inode.lookups == 0 && ino != ROOT) else {
            return;
        };
        let is_placed = !inode.places.is_empty();
        if let (Kind::File(content), true) = (&mut inode.kind, is_placed) {
            content.close_backing();
        }
        if inode.links == 0 && !is_placed {
            if let Kind::File(content) = &inode.kind {
                self.unsynced_bytes = self.unsynced_bytes.saturating_sub(content.unsynced_bytes());
            }
            self.inodes.remove(&ino);
        }
    }

    fn drop_link(&mut self, ino: Ino) -> Result<(), Errno> {
        let inode = self.inode_mut(ino)?;
        inode.links = inode.links.saturating_sub(1);
        self.drop_if_unused(ino);
        Ok(())
    }

    fn change(&mut self, changes: Vec<Change>) -> Result<(), Errno> {
        for change in &changes {
            let directory = self.directory_mut(change.dir)?;
            match change.to {
                Some(ino) => directory.names.insert(change.name.clone(), ino),
                None => directory.names.remove(&change.name),
            };
            self.inode_mut(change.dir)?.modified = SystemTime::now();
        }
        self.pending.push(changes);
        Ok(())
    }
}

/// Whether a rename may replace what stands under the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replace {
    /// It may.
    Allow,
    /// It fails with `EEXIST`.
    Refuse,
}

impl Kind {
    /// An empty directory in `parent`.
    pub(super) fn directory(parent: Ino) -> Self {
        Self::Directory(Directory { parent, names: BTreeMap::new(), durable: BTreeMap::new() })
    }
}

impl Inode {
    fn durable(kind: Kind, metadata: &fs::Metadata) -> Self {
        Self {
            kind,
            perm: (metadata.mode() & 0o7777) as u16,
            owner: Owner { uid: metadata.uid(), gid: metadata.gid() },
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            links: 0,
            lookups: 0,
            places: Vec::new(),
        }
    }

    pub(super) fn as_directory(&self) -> Option<&Directory> {
        match &self.kind {
            Kind::Directory(directory) => Some(directory),
            Kind::File(_) => None,
        }
    }

    pub(super) fn as_directory_mut(&mut self) -> Option<&mut Directory> {
        match &mut self.kind {
            Kind::Directory(directory) => Some(directory),
            Kind::File(_) => None,
        }
    }
}

/// The error number of a failure of the backing directory.
pub(super) fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
