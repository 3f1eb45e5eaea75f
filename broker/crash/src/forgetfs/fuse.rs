//! The kernel's requests, translated into operations of the tree.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::Disk;
use super::content::Content;
use super::tree::{Ino, Inode, Kind, Owner, Replace, Tree, errno};

/// The kernel asks again for every name: what it remembered would outlive a loss of power.
const CACHE: Duration = Duration::ZERO;
const BLOCK_BYTES: u32 = 4096;

/// Answers the kernel from the tree.
#[derive(Debug)]
pub(super) struct Adapter {
    disk: Arc<Disk>,
    listings: Mutex<HashMap<u64, Listing>>,
    next_listing: AtomicU64,
}

/// An open directory: what was in it when it was opened.
type Listing = Arc<Vec<(Ino, FileType, OsString)>>;

impl Adapter {
    pub(super) fn new(disk: Arc<Disk>) -> Self {
        Self { disk, listings: Mutex::default(), next_listing: AtomicU64::new(1) }
    }

    /// Finds or makes an inode by name and counts the reference that the kernel gets.
    fn hand_out(&self, find: impl FnOnce(&mut Tree) -> Result<Ino, Errno>) -> Result<FileAttr, Errno> {
        let mut tree = self.disk.tree();
        let ino = find(&mut tree)?;
        let inode = tree.inode_mut(ino)?;
        inode.lookups += 1;
        Ok(attributes(ino, inode))
    }

    fn list(&self, dir: Ino) -> Result<Listing, Errno> {
        let tree = self.disk.tree();
        let directory = tree.directory(dir)?;
        let mut listing = vec![
            (dir, FileType::Directory, OsString::from(".")),
            (directory.parent, FileType::Directory, OsString::from("..")),
        ];
        for (name, ino) in &directory.names {
            listing.push((*ino, file_type(tree.inode(*ino)?), name.clone()));
        }
        Ok(Arc::new(listing))
    }
}

impl Filesystem for Adapter {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.hand_out(|tree| tree.lookup(parent.0, name)) {
            Ok(attributes) => reply.entry(&CACHE, &attributes, Generation(0)),
            Err(error) => reply.error(code(error)),
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, nlookup: u64) {
        self.disk.tree().release(ino.0, nlookup);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.disk.tree().inode(ino.0) {
            Ok(inode) => reply.attr(&CACHE, &attributes(ino.0, inode)),
            Err(error) => reply.error(code(error)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = || -> Result<FileAttr, Errno> {
            let mut tree = self.disk.tree();
            if let Some(size) = size {
                tree.content(ino.0)?.resize(size);
                tree.inode_mut(ino.0)?.modified = SystemTime::now();
            }
            let path = tree.durable_path(ino.0);
            let inode = tree.inode_mut(ino.0)?;
            if let Some(mode) = mode {
                inode.perm = (mode & 0o7777) as u16;
            }
            inode.owner = Owner { uid: uid.unwrap_or(inode.owner.uid), gid: gid.unwrap_or(inode.owner.gid) };
            match modified {
                Some(TimeOrNow::SpecificTime(time)) => inode.modified = time,
                Some(TimeOrNow::Now) => inode.modified = SystemTime::now(),
                None => {}
            }
            if let Some(path) = path.filter(|_| mode.is_some() || uid.is_some() || gid.is_some()) {
                write_through(&path, inode).map_err(|error| errno(&error))?;
            }
            Ok(attributes(ino.0, inode))
        };
        match set() {
            Ok(attributes) => reply.attr(&CACHE, &attributes),
            Err(error) => reply.error(code(error)),
        }
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let (owner, perm) = (owner(request), (mode & !umask & 0o7777) as u16);
        let kind = Kind::directory(parent.0);
        match self.hand_out(|tree| tree.make(parent.0, name, kind, perm, owner)) {
            Ok(attributes) => reply.entry(&CACHE, &attributes, Generation(0)),
            Err(error) => reply.error(code(error)),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.disk.tree().unlink(parent.0, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.disk.tree().remove_directory(parent.0, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let replace = if flags == RenameFlags::empty() {
            Replace::Allow
        } else if flags == RenameFlags::RENAME_NOREPLACE {
            Replace::Refuse
        } else {
            return reply.error(code(Errno::INVAL));
        };
        done(self.disk.tree().rename((parent.0, name), (newparent.0, newname), replace), reply);
    }

    fn link(&self, _: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        match self.hand_out(|tree| tree.link(ino.0, newparent.0, newname).map(|()| ino.0)) {
            Ok(attributes) => reply.entry(&CACHE, &attributes, Generation(0)),
            Err(error) => reply.error(code(error)),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.disk.tree().content(ino.0) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(code(error)),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let (owner, perm) = (owner(request), (mode & !umask & 0o7777) as u16);
        let kind = Kind::File(Content::new());
        match self.hand_out(|tree| tree.make(parent.0, name, kind, perm, owner)) {
            Ok(attributes) => {
                reply.created(&CACHE, &attributes, Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(error) => reply.error(code(error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = |content: &mut Content| content.read(offset, size as usize).map_err(|error| errno(&error));
        match self.disk.tree().content(ino.0).and_then(read) {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(code(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.disk.tree().write(ino.0, offset, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(code(error)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.disk.sync(|tree| tree.sync_file(ino.0)), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.disk.sync(|tree| tree.sync_directory(ino.0)), reply);
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let flags = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        let grow = |content: &mut Content| match offset.checked_add(length) {
            None => Err(Errno::FBIG),
            Some(end) if flags.is_empty() && end > content.size() => {
                content.resize(end);
                Ok(())
            }
            Some(_) if flags.is_empty() || flags == FallocateFlags::KEEP_SIZE => Ok(()),
            Some(_) => Err(Errno::OPNOTSUPP),
        };
        done(self.disk.tree().content(ino.0).and_then(grow), reply);
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.list(ino.0) {
            Ok(listing) => {
                let handle = self.next_listing.fetch_add(1, Ordering::Relaxed);
                self.listings.lock().unwrap_or_else(PoisonError::into_inner).insert(handle, listing);
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(error) => reply.error(code(error)),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listing = self.listings.lock().unwrap_or_else(PoisonError::into_inner).get(&fh.0).cloned();
        let Some(listing) = listing else { return reply.error(code(Errno::BADF)) };
        for (position, (ino, file_type, name)) in listing.iter().enumerate().skip(offset as usize) {
            if reply.add(INodeNo(*ino), position as u64 + 1, *file_type, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner).remove(&fh.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let backing = self.disk.tree().backing.clone();
        match rustix::fs::statvfs(&backing) {
            Ok(disk) => reply.statfs(
                disk.f_blocks,
                disk.f_bfree,
                disk.f_bavail,
                disk.f_files,
                disk.f_ffree,
                disk.f_bsize as u32,
                disk.f_namemax as u32,
                disk.f_frsize as u32,
            ),
            Err(error) => reply.error(code(error)),
        }
    }
}

fn attributes(ino: Ino, inode: &Inode) -> FileAttr {
    let size = match &inode.kind {
        Kind::File(content) => content.size(),
        Kind::Directory(_) => u64::from(BLOCK_BYTES),
    };
    FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(512),
        atime: inode.modified,
        mtime: inode.modified,
        ctime: inode.modified,
        crtime: inode.modified,
        kind: file_type(inode),
        perm: inode.perm,
        nlink: inode.links,
        uid: inode.owner.uid,
        gid: inode.owner.gid,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

fn file_type(inode: &Inode) -> FileType {
    if inode.as_directory().is_some() { FileType::Directory } else { FileType::RegularFile }
}

fn owner(request: &Request) -> Owner {
    Owner { uid: request.uid(), gid: request.gid() }
}

fn write_through(path: &Path, inode: &Inode) -> io::Result<()> {
    std::os::unix::fs::chown(path, Some(inode.owner.uid), Some(inode.owner.gid))?;
    fs::set_permissions(path, Permissions::from_mode(u32::from(inode.perm)))
}

fn code(error: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(error.raw_os_error())
}

fn done(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(code(error)),
    }
}
