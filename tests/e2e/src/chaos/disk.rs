//! [`Disk`]: a directory whose file system is ours, and does as it is told: slow, full, or failing to make anything
//! durable. It passes everything on to what was there before, and lies over it until it is dropped.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::errno::Errno as Code;
use nix::libc;

/// How the kernel may remember names and sizes: not at all.
const TTL: Duration = Duration::ZERO;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    #[default]
    None,
    /// Each fsync takes so long.
    Slow(Duration),
    /// No file grows, and none is made.
    Full,
    /// No fsync succeeds.
    Failing,
}

pub struct Disk {
    directory: PathBuf,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

#[derive(Default)]
struct Shared {
    trouble: Mutex<Trouble>,
    hits: AtomicU64,
}

impl Disk {
    pub fn over(directory: &Path) -> Disk {
        let below = File::open(directory).expect("the directory");
        let shared = Arc::<Shared>::default();
        let passing = Passing {
            root: PathBuf::from(format!("/proc/self/fd/{}", below.as_raw_fd())),
            _below: below,
            shared: Arc::clone(&shared),
            names: Mutex::new(Names::default()),
            files: Mutex::default(),
            last_handle: AtomicU64::new(0),
        };
        let mut config = Config::default();
        // So that a slow fsync keeps no read waiting.
        config.n_threads = Some(8);
        let session = fuser::spawn_mount(passing, directory, &config).expect("FUSE, and the right to mount");
        Disk { directory: directory.to_owned(), shared, session: Some(session) }
    }

    pub fn make(&self, trouble: Trouble) {
        *self.shared.trouble.lock().expect("no holder panics") = trouble;
    }

    /// How many calls have had trouble.
    pub fn hits(&self) -> u64 {
        self.shared.hits.load(Ordering::Relaxed)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever waits for a slow disk is not waited for.
        self.make(Trouble::None);
        if let Some(session) = self.session.take()
            && let Err(error) = session.umount_and_join()
        {
            eprintln!("{} is still mounted: {error}", self.directory.display());
        }
    }
}

impl Shared {
    fn before_fsync(&self) -> io::Result<()> {
        let trouble = *self.trouble.lock().expect("no holder panics");
        match trouble {
            Trouble::None | Trouble::Full => Ok(()),
            Trouble::Slow(time) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(time);
                Ok(())
            }
            Trouble::Failing => self.fail(Code::EIO),
        }
    }

    fn before_growth(&self) -> io::Result<()> {
        if *self.trouble.lock().expect("no holder panics") == Trouble::Full {
            self.fail(Code::ENOSPC)
        } else {
            Ok(())
        }
    }

    fn fail(&self, code: Code) -> io::Result<()> {
        self.hits.fetch_add(1, Ordering::Relaxed);
        Err(code.into())
    }
}

/// Numbers of the files that the kernel knows, and where they are below the root.
struct Names {
    paths: HashMap<u64, PathBuf>,
    numbers: HashMap<PathBuf, u64>,
    last: u64,
}

impl Default for Names {
    fn default() -> Self {
        let root = INodeNo::ROOT.0;
        Self {
            paths: HashMap::from([(root, PathBuf::new())]),
            numbers: HashMap::from([(PathBuf::new(), root)]),
            last: root,
        }
    }
}

impl Names {
    fn number(&mut self, path: &Path) -> u64 {
        if let Some(number) = self.numbers.get(path) {
            return *number;
        }
        self.last += 1;
        self.paths.insert(self.last, path.to_owned());
        self.numbers.insert(path.to_owned(), self.last);
        self.last
    }

    fn forget(&mut self, path: &Path) {
        if let Some(number) = self.numbers.remove(path) {
            self.paths.remove(&number);
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        self.forget(to);
        for (path, number) in self.numbers.clone() {
            if let Ok(rest) = path.strip_prefix(from) {
                let new = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
                self.numbers.remove(&path);
                self.paths.insert(number, new.clone());
                self.numbers.insert(new, number);
            }
        }
    }
}

struct Passing {
    root: PathBuf,
    /// What was in the place before, so that it can still be reached.
    _below: File,
    shared: Arc<Shared>,
    names: Mutex<Names>,
    files: Mutex<HashMap<u64, Arc<File>>>,
    last_handle: AtomicU64,
}

impl Passing {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().expect("no holder panics")
    }

    fn relative(&self, number: INodeNo) -> io::Result<PathBuf> {
        self.names().paths.get(&number.0).cloned().ok_or_else(|| Code::ESTALE.into())
    }

    fn path(&self, number: INodeNo) -> io::Result<PathBuf> {
        let relative = self.relative(number)?;
        Ok(if relative.as_os_str().is_empty() { self.root.join(".") } else { self.root.join(relative) })
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> io::Result<(PathBuf, PathBuf)> {
        let relative = self.relative(parent)?.join(name);
        Ok((self.root.join(&relative), relative))
    }

    fn attributes(&self, relative: &Path, metadata: &Metadata) -> FileAttr {
        attributes(INodeNo(self.names().number(relative)), metadata)
    }

    fn keep(&self, file: File) -> FileHandle {
        let handle = self.last_handle.fetch_add(1, Ordering::Relaxed) + 1;
        self.files.lock().expect("no holder panics").insert(handle, Arc::new(file));
        FileHandle(handle)
    }

    fn file(&self, handle: FileHandle) -> io::Result<Arc<File>> {
        self.files.lock().expect("no holder panics").get(&handle.0).cloned().ok_or_else(|| Code::EBADF.into())
    }

    fn look_up(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let (path, relative) = self.child(parent, name)?;
        let metadata = fs::symlink_metadata(path)?;
        Ok(self.attributes(&relative, &metadata))
    }

    fn list(&self, number: INodeNo) -> io::Result<Vec<(u64, FileType, std::ffi::OsString)>> {
        let relative = self.relative(number)?;
        let mut list =
            vec![(number.0, FileType::Directory, ".".into()), (number.0, FileType::Directory, "..".into())];
        for entry in fs::read_dir(self.path(number)?)? {
            let entry = entry?;
            let kind = if entry.file_type()?.is_dir() { FileType::Directory } else { FileType::RegularFile };
            list.push((self.names().number(&relative.join(entry.file_name())), kind, entry.file_name()));
        }
        Ok(list)
    }
}

fn attributes(ino: INodeNo, metadata: &Metadata) -> FileAttr {
    let time = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.max(0) as u64);
    FileAttr {
        ino,
        size: metadata.len(),
        blocks: metadata.blocks(),
        atime: time(metadata.atime()),
        mtime: time(metadata.mtime()),
        ctime: time(metadata.ctime()),
        crtime: time(metadata.ctime()),
        kind: if metadata.is_dir() { FileType::Directory } else { FileType::RegularFile },
        perm: (metadata.mode() & 0o7777) as u16,
        nlink: metadata.nlink() as u32,
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: metadata.blksize() as u32,
        flags: 0,
    }
}

fn code(error: io::Error) -> Errno {
    Errno::from(error)
}

impl Filesystem for Passing {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.look_up(parent, name) {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(code(error)),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        // A file that is open may have lost its name.
        let metadata = match handle {
            Some(handle) => self.file(handle).and_then(|file| file.metadata()),
            None => self.path(number).and_then(fs::symlink_metadata),
        };
        match metadata {
            Ok(metadata) => reply.attr(&TTL, &attributes(number, &metadata)),
            Err(error) => reply.error(code(error)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = || {
            let path = self.path(number)?;
            if let Some(mode) = mode {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            }
            if let Some(size) = size {
                let file = OpenOptions::new().write(true).open(&path)?;
                if size > file.metadata()?.len() {
                    self.shared.before_growth()?;
                }
                file.set_len(size)?;
            }
            fs::symlink_metadata(path)
        };
        match change() {
            Ok(metadata) => reply.attr(&TTL, &attributes(number, &metadata)),
            Err(error) => reply.error(code(error)),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let make = || {
            self.shared.before_growth()?;
            let (path, relative) = self.child(parent, name)?;
            fs::create_dir(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode & !umask))?;
            Ok(self.attributes(&relative, &fs::symlink_metadata(path)?))
        };
        match make() {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(code(error)),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, || {
            let (path, relative) = self.child(parent, name)?;
            fs::remove_file(path)?;
            self.names().forget(&relative);
            Ok(())
        });
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, || {
            let (path, relative) = self.child(parent, name)?;
            fs::remove_dir(path)?;
            self.names().forget(&relative);
            Ok(())
        });
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        empty(reply, || {
            let (from, relative_from) = self.child(parent, name)?;
            let (to, relative_to) = self.child(new_parent, new_name)?;
            fs::rename(from, to)?;
            self.names().rename(&relative_from, &relative_to);
            Ok(())
        });
    }

    fn open(&self, _: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let open = || {
            let writes = flags.0 & libc::O_ACCMODE != libc::O_RDONLY;
            let truncate = writes && flags.0 & libc::O_TRUNC != 0;
            OpenOptions::new().read(true).write(writes).truncate(truncate).open(self.path(number)?)
        };
        match open() {
            Ok(file) => reply.opened(self.keep(file), FopenFlags::empty()),
            Err(error) => reply.error(code(error)),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let create = || {
            self.shared.before_growth()?;
            let (path, relative) = self.child(parent, name)?;
            let mut options = OpenOptions::new();
            options.read(true).write(true).truncate(flags & libc::O_TRUNC != 0).mode(mode & !umask);
            if flags & libc::O_EXCL != 0 {
                options.create_new(true)
            } else {
                options.create(true)
            };
            let file = options.open(path)?;
            let attributes = self.attributes(&relative, &file.metadata()?);
            Ok((attributes, self.keep(file)))
        };
        match create() {
            Ok((attributes, handle)) => {
                reply.created(&TTL, &attributes, Generation(0), handle, FopenFlags::empty());
            }
            Err(error) => reply.error(code(error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = || {
            let file = self.file(handle)?;
            let mut bytes = vec![0; size as usize];
            let mut length = 0;
            while length < bytes.len() {
                match file.read_at(&mut bytes[length..], offset + length as u64)? {
                    0 => break,
                    more => length += more,
                }
            }
            bytes.truncate(length);
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(code(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = || {
            self.shared.before_growth()?;
            self.file(handle)?.write_all_at(data, offset)
        };
        match write() {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(code(error)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.files.lock().expect("no holder panics").remove(&handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, only_data: bool, reply: ReplyEmpty) {
        empty(reply, || {
            self.shared.before_fsync()?;
            let file = self.file(handle)?;
            if only_data { file.sync_data() } else { file.sync_all() }
        });
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _only_data: bool, reply: ReplyEmpty) {
        empty(reply, || {
            self.shared.before_fsync()?;
            File::open(self.path(number)?)?.sync_all()
        });
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        match self.list(number) {
            Ok(list) => {
                for (at, (number, kind, name)) in list.into_iter().enumerate().skip(offset as usize) {
                    if reply.add(INodeNo(number), at as u64 + 1, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(code(error)),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match nix::sys::statvfs::statvfs(&self.root) {
            Ok(stat) => reply.statfs(
                stat.blocks(),
                stat.blocks_free(),
                stat.blocks_available(),
                stat.files(),
                stat.files_free(),
                stat.block_size() as u32,
                stat.name_max() as u32,
                stat.fragment_size() as u32,
            ),
            Err(error) => reply.error(code(error.into())),
        }
    }
}

fn empty(reply: ReplyEmpty, work: impl FnOnce() -> io::Result<()>) {
    match work() {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(code(error)),
    }
}
