//! The folder of a hub: which hub it is, which of its starts, and its token. One hub at a time, held by a lock.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use convoke_core::{Code, HubIdentity, Refusal};
use serde::{Deserialize, Serialize};

use super::admin;
use crate::error::Error;
use crate::files::{advised, for_its_owner, make_folder, sync_names};
use crate::store::whole::last_start;
use crate::store::{RESERVE_STEP, Reserve, has_no_room};
use crate::token::Token;

/// The format of the folder. A hub does not start on one that it does not know.
const FORMAT: u32 = 2;

/// The file that says which hub it is.
pub(crate) const FILE: &str = "hub.json";

/// The file that is locked.
pub(crate) const LOCK: &str = "lock";

/// What is said in the lock of who holds it, behind the process id.
const HUB: &str = "";
const STORE: &str = " store";

/// The file that is there while something is done after which no hub may start until it is done to its end: its first word is
/// the verb.
pub(crate) const UNFINISHED: &str = "unfinished";

/// In another history the starts of a hub are counted from so far beyond, and a random number of up to as many bits as half of
/// it: each start counts 65,536 at most, so that more than a hundred thousand may have been since.
const STARTS_PASSED_OVER: u64 = 1 << 33;

/// What a hub has at its start.
pub(super) struct Folder {
    pub(super) identity: HubIdentity,
    pub(super) token: Token,
    /// Where the store is, and the lock, to be held until the store is closed; the system lets go of it however the program
    /// ends.
    pub(super) kept: Option<(PathBuf, File)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    hub: String,
    history: String,
    epoch: u64,
    /// There was a store at an earlier start: without it this is not the folder that it was.
    #[serde(default)]
    store: bool,
    /// Of all the rest: a digit that is another one would be another hub, or a start that was counted before.
    #[serde(default)]
    check: u32,
}

impl Stored {
    fn new(identity: HubIdentity, store: bool) -> Stored {
        let HubIdentity { hub, history, epoch } = identity;
        Stored { format: FORMAT, hub: hex(&hub), history: hex(&history), epoch, store, check: 0 }.checked()
    }

    fn checked(self) -> Stored {
        Stored { check: self.checksum(), ..self }
    }

    fn checksum(&self) -> u32 {
        let Stored { format, hub, history, epoch, store, .. } = self;
        crc32c::crc32c(format!("{format} {hub} {history} {epoch} {store}").as_bytes())
    }

    fn identity(&self, path: &Path) -> Result<HubIdentity, Error> {
        let id = |text: &str| {
            unhex(text).ok_or_else(|| incomplete(at(path, "hub.json has an id that is none; put a copy back")))
        };
        Ok(HubIdentity { hub: id(&self.hub)?, history: id(&self.history)?, epoch: self.epoch })
    }
}

/// Opens the folder, or makes it; counts this start, durably, before anything else happens. Without a folder the hub is a
/// new one that nobody has known before.
pub(super) fn open(path: Option<&Path>) -> Result<Folder, Error> {
    let Some(path) = path else {
        let identity = HubIdentity { hub: random()?, history: random()?, epoch: first_epoch()? };
        return Ok(Folder { identity, token: Token::generate(admin())?, kept: None });
    };
    let at = |what: &str| at(path, what);
    make_folder(path).map_err(|error| Error::io(at("cannot be made"), advised(error)))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = fs::metadata(path).map_err(|error| Error::io(at("cannot be looked at"), error))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o002 != 0 {
            return Err(Error::Configuration(at(&format!("everybody can write it (mode {mode:o}); make it 700"))));
        }
    }
    let remedy = "stop that one, or give this one a folder of its own with --data";
    let lock = lock(path, HUB, ("another hub", remedy))?;
    let has_store = has_store(path)?;
    let before = match read(path, has_store)? {
        Some(stored) => stored.identity(path)?,
        None => HubIdentity { hub: random()?, history: random()?, epoch: first_epoch()? },
    };
    let identity = HubIdentity { epoch: next_epoch(before.epoch)?, ..before };
    write(path, &Stored::new(identity, has_store))?;

    let token_file = path.join("admin.token");
    let token = match Token::read(&token_file) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            let token = Token::generate(admin())?;
            replace(&token_file, format!("{}\n", token.reveal()).as_bytes())
                .map_err(|error| Error::io(at("admin.token"), error))?;
            token
        }
        other => other?,
    };
    Ok(Folder { identity, token, kept: Some((path.to_owned(), lock)) })
}

/// Takes the lock of a folder that is there: until it is dropped no hub runs on it, nor anything else that changes it. Who does
/// not get it is told who has it, and what to do if that is a hub.
///
/// # Errors
///
/// [`Error::InUse`] if somebody has it; [`Error::Io`].
fn lock(path: &Path, as_what: &str, said: (&str, &str)) -> Result<File, Error> {
    let opened = for_its_owner().create(true).read(true).truncate(false).open(path.join(LOCK));
    let lock = opened.map_err(|error| Error::io(at(path, LOCK), advised(error)))?;
    hold(path, &lock, lock.try_lock(), said)?;
    sign(&lock, as_what);
    Ok(lock)
}

/// Takes it for `convoke store`.
///
/// # Errors
///
/// The same.
pub(crate) fn lock_to_change(path: &Path, said: (&str, &str)) -> Result<File, Error> {
    lock(path, STORE, said)
}

/// The same without any change of the folder, and beside others that only read it; `None` where no hub has ever been.
pub(crate) fn lock_unchanged(path: &Path, said: (&str, &str)) -> Result<Option<File>, Error> {
    match File::open(path.join(LOCK)) {
        Ok(lock) => hold(path, &lock, lock.try_lock_shared(), said).map(|()| Some(lock)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(at(path, LOCK), advised(error))),
    }
}

/// Holds what was locked to read a folder, to change it: nobody else reads it any more.
pub(crate) fn lock_alone(path: &Path, lock: &File, said: (&str, &str)) -> Result<(), Error> {
    hold(path, lock, lock.try_lock(), said)?;
    // It was opened to be read.
    if let Ok(lock) = fs::OpenOptions::new().write(true).open(path.join(LOCK)) {
        sign(&lock, STORE);
    }
    Ok(())
}

/// Says in the lock who holds it, for whoever finds it locked; that it is there matters to nobody else.
fn sign(mut lock: &File, as_what: &str) {
    drop(lock.set_len(0).and_then(|()| write!(lock, "{}{as_what}", std::process::id())));
}

/// Looks whether the lock was taken. Who does not get it is told who has it, and what to do.
fn hold(
    path: &Path,
    mut lock: &File,
    tried: Result<(), TryLockError>,
    (who, remedy): (&str, &str),
) -> Result<(), Error> {
    match tried {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) if lock.try_lock_shared().is_ok() => {
            Err(Error::in_use(at(path, "`convoke store` reads it; try again when that is done")))
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let known = lock.read_to_string(&mut holder).is_ok();
            let (holder, is_store) = holder.strip_suffix(STORE).map_or((&holder[..], false), |holder| (holder, true));
            let process = match holder.parse::<u32>() {
                Ok(process) if known => format!(" (process {process})"),
                _ => String::new(),
            };
            let said = match is_store {
                true => format!("`convoke store` changes it{process}; try again when that is done"),
                false => format!("{who} is running on it{process}; {remedy}"),
            };
            Err(Error::in_use(at(path, &said)))
        }
        Err(TryLockError::Error(error)) => Err(Error::io(at(path, LOCK), error)),
    }
}

fn at(path: &Path, what: &str) -> String {
    format!("data folder `{}`: {what}", path.display())
}

fn has_store(path: &Path) -> Result<bool, Error> {
    let store = path.join(crate::store::FILE);
    store.try_exists().map_err(|error| Error::io(at(path, crate::store::FILE), error))
}

/// What hub.json says; `None` if a hub may begin anew here.
fn read(path: &Path, has_store: bool) -> Result<Option<Stored>, Error> {
    let at = |what: &str| at(path, what);
    let unfinished = |error| Error::io(at(UNFINISHED), error);
    if let Some(verb) = unfinished_verb(path).map_err(unfinished)? {
        return Err(incomplete(at(&format!("`convoke store {verb}` did not come to its end here; run it again"))));
    }
    // As bytes: what is no text is damaged like any other.
    let stored = match fs::read(path.join(FILE)) {
        Ok(text) => serde_json::from_slice::<Stored>(&text).map_err(|error| {
            incomplete(at(&format!("hub.json is not what a hub has written, put a copy back: {error}")))
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && has_store => {
            return Err(incomplete(at("there is a store and no hub.json that says whose it is; put it back")));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(at(FILE), error)),
    };
    if stored.format != FORMAT {
        let text =
            format!("its format is {}, and this program knows {FORMAT}; use the program that wrote it", stored.format);
        return Err(Error::Configuration(at(&text)));
    }
    if stored.check != stored.checksum() {
        return Err(incomplete(at("hub.json is not what a hub has written, put a copy back: it was changed")));
    }
    let identity = stored.identity(path)?;
    let last = if has_store { last_start(path, identity) } else { 0 };
    if identity.epoch < last {
        let text = format!(
            "hub.json knows of the hub's start {}, and its log of start {last}: it is an older copy; put the newest back",
            identity.epoch
        );
        return Err(incomplete(at(&text)));
    }
    if stored.store && !has_store {
        let text =
            format!("{} is gone, and with it all that was kept; put it back, or use a new folder", crate::store::FILE);
        return Err(incomplete(at(&text)));
    }
    Ok(Some(stored))
}

/// Whose store is in a folder; `None` if there is none.
///
/// # Errors
///
/// Those of a start of a hub.
pub(crate) fn identity(path: &Path) -> Result<Option<HubIdentity>, Error> {
    let has_store = has_store(path)?;
    match read(path, has_store)? {
        Some(stored) if has_store => stored.identity(path).map(Some),
        _ => Ok(None),
    }
}

/// Whose store it is that hub.json with these bytes speaks of.
pub(crate) fn identity_in(bytes: &[u8]) -> Option<HubIdentity> {
    let stored = serde_json::from_slice::<Stored>(bytes).ok().filter(|stored| stored.check == stored.checksum());
    stored?.identity(Path::new("")).ok()
}

/// Says durably whose store is in a folder from now on.
pub(crate) fn set_identity(path: &Path, identity: HubIdentity) -> Result<(), Error> {
    write(path, &Stored::new(identity, true))
}

/// The identity of a hub that goes on with what it had at another time, in a history of its own. Its starts are counted from
/// far beyond all that there can have been since then.
pub(crate) fn in_another_history(identity: HubIdentity) -> Result<HubIdentity, Error> {
    let starts = random().map(|bytes| u64::from(u32::from_le_bytes(bytes)))?;
    Ok(HubIdentity { history: random()?, epoch: later(identity.epoch, STARTS_PASSED_OVER + starts)?, ..identity })
}

/// Says durably that something is done in a folder after which no hub may start until it is done to its end; or that it is.
pub(crate) fn set_unfinished(path: &Path, what: Option<&[u8]>) -> Result<(), Error> {
    let failed = |error| Error::io(at(path, UNFINISHED), advised(error));
    match what {
        Some(what) => replace(&path.join(UNFINISHED), what).map_err(failed),
        None => remove_unfinished(path).map_err(failed),
    }
}

/// With what a write of it has left that was interrupted.
fn remove_unfinished(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if name.to_str().is_some_and(is_unfinished) {
            fs::remove_file(path.join(name))?;
        }
    }
    sync_names(path)
}

/// Whether a file is the mark, or was to become it.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.strip_prefix(UNFINISHED).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What is not done to its end: the first word of what was said.
pub(crate) fn unfinished_verb(path: &Path) -> std::io::Result<Option<String>> {
    match fs::read(path.join(UNFINISHED)) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            Ok(Some(text.split_whitespace().next().unwrap_or("repair").to_owned()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(begun_to_restore(path).then(|| "restore".into()))
        }
        Err(error) => Err(error),
    }
}

/// Whether what was to become the mark stands in a folder without a store: nothing but a restore says so before there is one.
/// It was interrupted while it wrote that, and whoever restores counts on it that no hub begins anew here.
fn begun_to_restore(path: &Path) -> bool {
    let is_there = |file| path.join(file).try_exists().unwrap_or(true);
    if is_there(FILE) || is_there(crate::store::FILE) {
        return false;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_str().is_some_and(is_unfinished))
}

/// There is a store now, and is to be there at every later start.
pub(super) fn store_is_there(path: &Path) -> Result<(), Error> {
    let file = path.join(FILE);
    let text = fs::read_to_string(&file).map_err(|error| Error::io(file.display().to_string(), error))?;
    match serde_json::from_str::<Stored>(&text) {
        Ok(stored) if !stored.store => write(path, &Stored { store: true, ..stored }.checked()),
        _ => Ok(()),
    }
}

fn write(path: &Path, stored: &Stored) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(stored).expect("plain fields can be written");
    replace_with_reserve(&path.join(FILE), text.as_bytes()).map_err(|error| {
        let what = if has_no_room(&error) { "hub.json cannot be written; make room on the disk" } else { "hub.json" };
        Error::io(format!("data folder `{}`: {what}", path.display()), error)
    })
}

/// [`replace`], on a full disk with room that was set aside.
fn replace_with_reserve(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let reserve = Reserve::of(file.parent().unwrap_or(Path::new(".")));
    let was = reserve.length();
    let replaced = loop {
        match replace(file, bytes) {
            Err(error) if has_no_room(&error) && reserve.give_up(RESERVE_STEP, 0) => {}
            replaced => break replaced,
        }
    };
    // The file that was replaced took as much; what is still missing is taken back when there is room.
    if reserve.length() < was {
        reserve.refill(was);
    }
    replaced
}

/// Something of the folder is missing, or not what it was.
fn incomplete(text: String) -> Error {
    Error::Refused(Refusal::new(Code::StorageFailed, text))
}

/// Writes a file that only this user can read, whole or not at all, and durably.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = PathBuf::from(path);
    beside.as_mut_os_string().push(format!(".{}", std::process::id()));
    let mut file = for_its_owner().create(true).truncate(true).open(&beside)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        // Each start has another process id: on a full disk they would pile up.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    path.parent().map_or(Ok(()), sync_names)
}

/// Where a new hub begins to count its starts: anywhere. Incarnations are (epoch, counter), and a node takes its own to
/// whatever hub is at its address now: to a hub that begins at the same place it would be an impostor.
fn first_epoch() -> Result<u64, Error> {
    random().map(|bytes| u64::from(u32::from_le_bytes(bytes)))
}

/// Where a hub that was there before goes on. Not at the next number: if this is an older copy of its folder that was put
/// back, that is one that it had already, and its nodes come back with it.
fn next_epoch(epoch: u64) -> Result<u64, Error> {
    random().and_then(|bytes| later(epoch, 1 + u64::from(u16::from_le_bytes(bytes))))
}

/// A start that is counted so much higher: never from the beginning again.
fn later(epoch: u64, by: u64) -> Result<u64, Error> {
    let text = || format!("the hub's start {epoch} is one that no hub comes to; put a copy of hub.json back");
    epoch.checked_add(by).ok_or_else(|| incomplete(text()))
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::io("random bytes for a hub's id", error.into()))?;
    Ok(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_stays_the_same_and_each_of_its_starts_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = open(Some(&path)).unwrap();
        let (identity, secret) = (first.identity, first.token.reveal());
        drop(first);
        let second = open(Some(&path)).unwrap();
        assert!(second.identity.epoch > identity.epoch);
        assert_eq!(HubIdentity { epoch: identity.epoch, ..second.identity }, identity);
        assert_eq!(second.token.reveal(), secret);
    }

    #[test]
    fn a_second_hub_on_one_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _first = open(Some(folder.path())).unwrap();
        let error = open(Some(folder.path())).err().unwrap();
        assert!(matches!(&error, Error::InUse(why) if why.text.contains("another hub is running")), "{error}");
    }

    #[test]
    fn nobody_is_told_to_stop_a_hub_that_does_not_run() {
        let folder = tempfile::tempdir().unwrap();
        // A hub was here.
        fs::write(folder.path().join(LOCK), "1").unwrap();
        let said = format!("`convoke store` changes it (process {}); try again when that is done", std::process::id());
        let refused = || open(Some(folder.path())).err().unwrap().to_string();
        let to_read = lock_unchanged(folder.path(), ("", "")).unwrap().unwrap();
        assert!(refused().ends_with("`convoke store` reads it; try again when that is done"), "{}", refused());
        lock_alone(folder.path(), &to_read, ("", "")).unwrap();
        assert!(refused().ends_with(&said), "{}", refused());
        drop(to_read);
        fs::write(folder.path().join(LOCK), "1").unwrap();
        let _changes = lock_to_change(folder.path(), ("", "")).unwrap();
        assert!(refused().ends_with(&said), "{}", refused());
        let error = lock_unchanged(folder.path(), ("", "")).unwrap_err().to_string();
        assert!(error.ends_with(&said), "{error}");
    }

    #[test]
    fn a_folder_that_is_not_a_hubs_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for (text, is_format) in [
            ("{}", false),
            ("not json", false),
            (r#"{"format":9,"hub":"","history":"","epoch":1}"#, true),
            (r#"{"format":2,"hub":"x","history":"","epoch":1}"#, false),
        ] {
            fs::write(folder.path().join("hub.json"), text).unwrap();
            let error = open(Some(folder.path())).err().unwrap();
            assert_eq!(matches!(error, Error::Configuration(_)), is_format, "{text}: {error}");
            assert_eq!(error.code() == Code::StorageFailed, !is_format, "{text}: {error}");
            assert_eq!(fs::read_to_string(folder.path().join("hub.json")).unwrap(), text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_everybody_can_write_is_refused_and_left_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let error = open(Some(folder.path())).err().unwrap();
        assert!(error.to_string().ends_with("everybody can write it (mode 777); make it 700"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_of_which_half_is_missing_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (hub, store) = (folder.path().join("hub.json"), folder.path().join(crate::store::FILE));
        drop(open(Some(folder.path())).unwrap());
        fs::write(&store, "a store").unwrap();
        // At the first start the store is made after hub.json.
        store_is_there(folder.path()).unwrap();
        fs::remove_file(&store).unwrap();
        let error = open(Some(folder.path())).err().unwrap();
        assert!(
            error
                .to_string()
                .ends_with("store.redb is gone, and with it all that was kept; put it back, or use a new folder")
        );
        fs::write(&store, "a store").unwrap();
        fs::remove_file(&hub).unwrap();
        let error = open(Some(folder.path())).err().unwrap();
        assert_eq!(error.code(), Code::StorageFailed);
        assert!(error.to_string().ends_with("there is a store and no hub.json that says whose it is; put it back"));
        assert!(!hub.exists());
    }

    #[test]
    fn a_damaged_hub_json_is_refused_like_any_other_damaged_file_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let hub = folder.path().join("hub.json");
        drop(open(Some(folder.path())).unwrap());
        let whole = fs::read_to_string(&hub).unwrap();
        for damaged in
            [String::new(), whole[..whole.len() / 2].to_owned(), whole.replace("\"hub\": \"", "\"hub\": \"x")]
        {
            fs::write(&hub, &damaged).unwrap();
            let error = open(Some(folder.path())).err().unwrap();
            assert_eq!(error.code(), Code::StorageFailed, "{error}");
            assert!(error.to_string().contains("put a copy back"), "{error}");
            assert_eq!(fs::read_to_string(&hub).unwrap(), damaged);
        }
    }

    /// A digit of `epoch` once made a hub count starts that it had counted before.
    #[test]
    fn a_hub_json_with_any_bit_changed_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let hub = folder.path().join("hub.json");
        drop(open(Some(folder.path())).unwrap());
        let whole = fs::read(&hub).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&hub, &damaged).unwrap();
            let text = String::from_utf8_lossy(&damaged);
            // Another format is that of another program.
            let error = open(Some(folder.path())).err().unwrap_or_else(|| panic!("a hub starts on {text}"));
            let is_format = matches!(&error, Error::Configuration(why) if why.contains("its format is"));
            assert!(error.code() == Code::StorageFailed || is_format, "{text}: {error}");
            assert_eq!(fs::read(&hub).unwrap(), damaged);
        }
    }

    #[test]
    fn starts_are_never_counted_from_the_beginning_again() {
        assert!(next_epoch(7).unwrap() > 7);
        let error = next_epoch(u64::MAX).unwrap_err();
        assert_eq!(error.code(), Code::StorageFailed, "{error}");
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("hub.json")).unwrap();
        assert!(replace(&folder.path().join("hub.json"), b"{}").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
