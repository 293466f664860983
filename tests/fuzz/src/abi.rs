//! The C interface, every function of it (a test of the corpus says so), called in any order with any arguments: NULLs,
//! strings that are no UTF-8, numbers of any size, clients that were closed. A seed is a program of calls. Clients are in
//! memory or in a directory of their own, bound to loopback, and call nobody elsewhere.

use std::ffi::{CStr, CString, c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use peerchat::capi::*;
use peerchat_core::BootstrapAddress;
use safer_ffi::prelude::{char_p, repr_c};
use tempfile::TempDir;

use crate::input::{Input, Script};
use crate::random_programs;

/// How many calls a program makes at most.
const MAX_CALLS: usize = 60;

/// How many clients it makes at most: each costs a socket and the start of a node.
const MAX_CLIENTS: usize = 3;

/// How often it tries a passphrase at most: each time takes 64 MiB and a tenth of a second.
const MAX_COSTLY: usize = 4;

/// What a program has in hand.
struct Caller {
    directory: TempDir,
    options: Vec<repr_c::Box<peerchat_options_t>>,
    clients: Vec<repr_c::Box<peerchat_t>>,
    client_count: usize,
    costly_count: usize,
    ids: Vec<peerchat_message_id_t>,
}

/// Every status has a name, and what a call gives is whole and can be freed; nothing is written where it failed.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    assert!(!text_at(peerchat_version()).is_empty());
    let mut caller = Caller {
        directory: tempfile::tempdir().expect("there is room for a directory"),
        options: Vec::new(),
        clients: Vec::new(),
        client_count: 0,
        costly_count: 0,
        ids: Vec::new(),
    };
    for _ in 0..MAX_CALLS {
        if input.is_empty() {
            break;
        }
        match input.byte() {
            0..48 => caller.set_option(&mut input),
            48..64 => caller.create(&mut input),
            64..128 => caller.ask(&mut input),
            128..160 => caller.relate(&mut input),
            160..208 => caller.write(&mut input),
            208..240 => caller.hear(&mut input),
            240.. => caller.end(&mut input),
        }
    }
    caller.clients.drain(..).for_each(|client| peerchat_destroy(Some(client)));
    caller.options.drain(..).for_each(|options| peerchat_options_free(Some(options)));
    assert!(
        check(peerchat_log_set(0, None, ptr::null_mut())),
        "the log is the process's: the next input has none"
    );
}

/// Checks what a call returned.
fn check(status: peerchat_status_t) -> bool {
    assert_ne!(status, peerchat_status_t::PEERCHAT_ERR_INTERNAL, "{}", text_at(peerchat_last_error()));
    assert_ne!(text_at(peerchat_status_name(status as i32)), "PEERCHAT_UNKNOWN");
    status == peerchat_status_t::PEERCHAT_OK
}

/// Reads a string of the library.
fn text_at(string: *const c_char) -> String {
    assert!(!string.is_null());
    // SAFETY: the library says that it ends with a NUL and lives at least until the next call.
    unsafe { CStr::from_ptr(string) }.to_str().expect("the library speaks UTF-8").to_owned()
}

/// Calls with somewhere to write to, or mostly.
fn out<T>(
    input: &mut Input<'_>,
    call: impl FnOnce(Option<&mut MaybeUninit<T>>) -> peerchat_status_t,
) -> Option<T> {
    let mut slot = MaybeUninit::uninit();
    if input.below(8) == 7 {
        assert!(!check(call(None)), "there was nowhere to write to");
        return None;
    }
    if !check(call(Some(&mut slot))) {
        return None;
    }
    // SAFETY: the call has succeeded, and so it has written.
    Some(unsafe { slot.assume_init() })
}

/// Does the same for a string, which is read and freed.
fn out_text(
    input: &mut Input<'_>,
    call: impl FnOnce(Option<&mut MaybeUninit<Option<char_p::Box>>>) -> peerchat_status_t,
) {
    if let Some(text) = out(input, call) {
        assert!(text.as_ref().is_some_and(|text| !text.to_str().is_empty()));
        peerchat_string_free(text);
    }
}

/// A string of any kind, or none.
fn string(input: &mut Input<'_>) -> Option<CString> {
    match input.below(6) {
        0 => None,
        1 => Some(c"alice".to_owned()),
        2 => Some(c"bob".to_owned()),
        3 => Some(c"bob#7kq2m4xd".to_owned()),
        _ => {
            let until_nul = input.bytes().split(|byte| *byte == 0).next().unwrap_or_default();
            Some(CString::new(until_nul).unwrap_or_default())
        }
    }
}

/// Lends a string to a call as C does: whatever its bytes are.
fn lent(string: &Option<CString>) -> Option<char_p::Ref<'_>> {
    let pointer = string.as_ref().map_or(ptr::null(), |string| string.as_ptr());
    // SAFETY: the argument is a pointer for C, and this is NULL or one to a string that ends with a NUL.
    unsafe { std::mem::transmute::<*const c_char, Option<char_p::Ref<'_>>>(pointer) }
}

extern "C-unwind" fn heard(_: *mut c_void, event: *const peerchat_event_t) {
    assert!(!event.is_null());
}

extern "C-unwind" fn logged(_: *mut c_void, _: peerchat_log_level_t, line: *const c_char) {
    assert!(!text_at(line).is_empty());
}

impl Caller {
    /// Any of the clients, or NULL.
    fn client(&self, input: &mut Input<'_>) -> Option<&peerchat_t> {
        self.clients.get(input.below(4).checked_sub(1)?).map(|client| &**client)
    }

    fn path(&self) -> CString {
        let path = self.directory.path().to_str().expect("temporary directories have plain names");
        CString::new(path).expect("paths have no NUL")
    }

    fn set_option(&mut self, input: &mut Input<'_>) {
        if self.options.len() < MAX_CLIENTS && (self.options.is_empty() || input.below(8) == 0) {
            self.options.extend(out(input, |slot| peerchat_options_new(slot)));
        }
        let (number, text) = (input.number(), string(input));
        let size = usize::try_from(number).unwrap_or(usize::MAX);
        let at = input.below(self.options.len() + 1);
        let options = self.options.get_mut(at).map(|options| &mut **options);
        check(match input.below(16) {
            0 => peerchat_options_set_user(options, lent(&text)),
            1 => peerchat_options_set_network(options, lent(&text)),
            2 => peerchat_options_set_bind(options, lent(&text)),
            3 => peerchat_options_set_port(options, 0),
            4 => peerchat_options_set_k(options, size),
            5 => peerchat_options_set_alpha(options, size),
            6 => peerchat_options_set_message_lifetime_ms(options, number),
            7 => peerchat_options_set_read_receipts(options, input.flag()),
            8 => peerchat_options_set_mail_quota_len(options, number),
            9 => peerchat_options_set_passphrase(options, lent(&text)),
            10 => peerchat_options_set_callback_thread(options),
            11 => peerchat_options_set_data_dir(options, lent(&text)),
            12 => peerchat_options_set_limit(options, lent(&text), number),
            13 => peerchat_options_set_memory_limit_len(options, number),
            14 => peerchat_options_set_serve(options, i32::from(input.byte()) - 1),
            _ => peerchat_options_set_in_memory(options),
        });
    }

    fn create(&mut self, input: &mut Input<'_>) {
        if self.client_count >= MAX_CLIENTS {
            return;
        }
        if self.options.is_empty() {
            self.options.extend(out(input, |slot| peerchat_options_new(slot)));
        }
        let at = input.below(self.options.len() + 1);
        let path = self.path();
        if let Some(options) = self.options.get_mut(at) {
            // Whatever was set before, nothing outside is touched.
            check(peerchat_options_set_bind(Some(options), Some(c"127.0.0.1:0".into())));
            check(match input.below(4) {
                0 => peerchat_options_set_data_dir(Some(options), Some(path.as_c_str().into())),
                _ => peerchat_options_set_in_memory(Some(options)),
            });
            if input.flag() {
                check(peerchat_options_set_user(Some(options), Some(c"alice".into())));
            }
        }
        let options = self.options.get(at).map(|options| &**options);
        let created = out(input, |slot| peerchat_create(options, slot));
        self.client_count += usize::from(created.is_some());
        self.clients.extend(created);
    }

    /// Calls that only read.
    fn ask(&mut self, input: &mut Input<'_>) {
        let number = input.below(4);
        let name = string(input);
        let id = self.ids.get(input.below(8)).copied();
        let what = input.below(21);
        if (18..).contains(&what) {
            if self.costly_count == MAX_COSTLY {
                return;
            }
            self.costly_count += 1;
        }
        let client = number.checked_sub(1).and_then(|at| self.clients.get(at)).map(|client| &**client);
        match what {
            0 => out_text(input, |slot| peerchat_local_address(client, slot)),
            1 => out_text(input, |slot| peerchat_node_key(client, slot)),
            2 => out_text(input, |slot| peerchat_node_id(client, slot)),
            3 => out_text(input, |slot| peerchat_user_name(client, slot)),
            4 => out_text(input, |slot| peerchat_user_id(client, slot)),
            5 => out_text(input, |slot| peerchat_user_fingerprint(client, slot)),
            6 => out_text(input, |slot| peerchat_safety_number(client, lent(&name), slot)),
            7 => _ = out(input, |slot| peerchat_fd(client, slot)),
            8 => _ = out(input, |slot| peerchat_message_state(client, id.as_ref(), slot)),
            9 => _ = out(input, |slot| peerchat_message_holders(client, id.as_ref(), slot)),
            10 => {
                let directory = if input.flag() { string(input) } else { Some(self.path()) };
                _ = out(input, |slot| peerchat_profile_exists(lent(&directory), lent(&name), slot));
            }
            11 => {
                let person = out(input, |slot| peerchat_identity(client, lent(&name), slot));
                peerchat_person_free(person);
            }
            12 => self.look_up(client, &name, input),
            13 => self.list_people(client, input),
            14 => self.read_history(client, &name, input),
            15 => self.count(client, input),
            16 => self.search(client, &name, input),
            17 => log(input),
            18 => self.change_passphrase(&name, input),
            19 => {
                let (path, passphrase) = (self.file(input), string(input));
                check(peerchat_export(client, lent(&path), lent(&passphrase)));
            }
            _ => self.import(input),
        }
    }

    fn look_up(&self, client: Option<&peerchat_t>, name: &Option<CString>, input: &mut Input<'_>) {
        let mut claimants = MaybeUninit::new(None);
        let gives = input.flag().then_some(&mut claimants);
        let person = out(input, |slot| peerchat_lookup_wait(client, lent(name), slot, gives));
        peerchat_person_free(person);
        // SAFETY: it was initialised, and the call writes nothing but a string.
        peerchat_string_free(unsafe { claimants.assume_init() });
    }

    fn list_people(&self, client: Option<&peerchat_t>, input: &mut Input<'_>) {
        let people = out(input, |slot| peerchat_contacts(client, slot));
        let list = people.as_deref();
        let count = peerchat_people_count(list);
        let index = usize::try_from(input.number()).unwrap_or(usize::MAX);
        assert_eq!(peerchat_people_at(list, index).is_some(), index < count);
        peerchat_people_free(people);
    }

    fn read_history(&self, client: Option<&peerchat_t>, peer: &Option<CString>, input: &mut Input<'_>) {
        let (before, limit) = (input.number(), usize::try_from(input.number()).unwrap_or(usize::MAX));
        let history = out(input, |slot| peerchat_history(client, lent(peer), before, limit, slot));
        if let Some(history) = &history {
            assert!(history.count <= limit && !history.entries.is_null());
        }
        peerchat_history_free(history);
    }

    fn search(&self, client: Option<&peerchat_t>, peer: &Option<CString>, input: &mut Input<'_>) {
        let words = if input.flag() { Some(c"hel*".to_owned()) } else { string(input) };
        let (before, limit) = (input.number(), usize::try_from(input.number()).unwrap_or(usize::MAX));
        let found = out(input, |slot| peerchat_search(client, lent(&words), lent(peer), before, limit, slot));
        if let Some(found) = &found {
            assert!(found.count <= limit && !found.entries.is_null());
        }
        peerchat_history_free(found);
    }

    /// Where an archive is, may not be, or cannot be: never outside.
    fn file(&self, input: &mut Input<'_>) -> Option<CString> {
        let directory = self.directory.path();
        let path = match input.below(5) {
            0 => return None,
            1 => return Some(c"\xff".to_owned()),
            2 => directory.to_owned(),
            3 => directory.join("archive"),
            _ => directory.join("elsewhere"),
        };
        CString::new(path.into_os_string().into_encoded_bytes()).ok()
    }

    fn import(&self, input: &mut Input<'_>) {
        let (archive, data_dir) = (self.file(input), self.file(input));
        let (passphrase, new) = (string(input), string(input));
        let (passphrase, new) = (lent(&passphrase), lent(&new));
        out_text(input, |slot| peerchat_import(lent(&archive), passphrase, lent(&data_dir), new, slot));
    }

    fn count(&self, client: Option<&peerchat_t>, input: &mut Input<'_>) {
        const ROOM: usize = 4096;
        let size = usize::try_from(input.number()).unwrap_or(usize::MAX);
        let mut counts = vec![0_u64; ROOM / 8];
        let to = if input.below(8) == 7 { ptr::null_mut() } else { counts.as_mut_ptr().cast() };
        // SAFETY: there are 4096 bytes, and the call refuses a larger size.
        check(unsafe { peerchat_statistics(client, to, size) });
        assert!(size >= ROOM || counts.iter().skip(size / 8 + 1).all(|count| *count == 0), "past the end");
    }

    fn change_passphrase(&self, user: &Option<CString>, input: &mut Input<'_>) {
        let path = if input.flag() { Some(self.path()) } else { None };
        let (old, new) = (string(input), string(input));
        check(peerchat_change_passphrase(lent(&path), lent(user), lent(&old), lent(&new)));
    }

    /// Calls that decide about a person.
    fn relate(&self, input: &mut Input<'_>) {
        let client = self.client(input);
        let name = string(input);
        let name = lent(&name);
        check(match input.below(7) {
            0 => peerchat_add_contact(client, name),
            1 => peerchat_accept_contact(client, name),
            2 => peerchat_block(client, name),
            3 => peerchat_unblock(client, name),
            4 => peerchat_remove_contact(client, name),
            5 => peerchat_set_verified(client, name, input.flag()),
            _ => {
                let user = string(input);
                peerchat_accept_identity(client, name, lent(&user))
            }
        });
    }

    /// Calls about messages of one's own.
    fn write(&mut self, input: &mut Input<'_>) {
        let client = self.client(input);
        let to = string(input);
        let to = lent(&to);
        let (way, lifetime_ms) = (input.below(7), input.number());
        let id = self.ids.get(input.below(8)).copied();
        let bytes = input.bytes();
        // A length that is too long must be refused before a byte is read.
        let (text, len) = match input.below(8) {
            5 => (ptr::null(), bytes.len()),
            6 => (ptr::null(), usize::MAX),
            7 => (bytes.as_ptr().cast::<c_char>(), usize::MAX - usize::from(input.byte())),
            _ => (bytes.as_ptr().cast::<c_char>(), bytes.len()),
        };
        let sent = match way {
            // SAFETY: of `len` bytes that many are readable, or they are more than any text has.
            0 | 1 => out(input, |slot| unsafe { peerchat_send(client, to, text, len, slot) }),
            // SAFETY: as above.
            2 => out(input, |slot| unsafe { peerchat_send_async(client, to, text, len, slot) }),
            // SAFETY: as above.
            3 => out(input, |slot| unsafe { peerchat_send_for(client, to, text, len, lifetime_ms, slot) }),
            4 => {
                check(peerchat_cancel(client, id.as_ref()));
                None
            }
            5 => {
                check(peerchat_set_typing(client, to, lifetime_ms.is_multiple_of(2)));
                None
            }
            _ => {
                check(peerchat_mark_read(client, id.as_ref()));
                None
            }
        };
        self.ids.extend(sent);
    }

    /// Calls about events, and those that make some.
    fn hear(&self, input: &mut Input<'_>) {
        let client = self.client(input);
        match input.below(4) {
            0 => {
                let timeout_ms = u32::from(input.flag());
                let mut slot = MaybeUninit::uninit();
                if check(peerchat_poll(client, timeout_ms, Some(&mut slot))) {
                    // SAFETY: the call has succeeded, and so it has written.
                    peerchat_event_free(Some(unsafe { slot.assume_init() }));
                }
            }
            1 => _ = check(peerchat_dispatch(client, u32::from(input.flag()))),
            2 => {
                let callback = if input.below(8) == 7 { None } else { Some(heard as _) };
                check(peerchat_set_callback(client, callback, ptr::null_mut()));
            }
            _ => {
                let address = address(client, input);
                _ = out(input, |slot| peerchat_bootstrap(client, lent(&address), slot));
            }
        }
    }

    fn end(&mut self, input: &mut Input<'_>) {
        if input.flag() {
            check(peerchat_close(self.client(input)));
        } else if let Some(client) = self.clients.pop() {
            peerchat_destroy(Some(client));
        }
        peerchat_destroy(None);
        peerchat_options_free(None);
        peerchat_event_free(None);
        peerchat_history_free(None);
        peerchat_people_free(None);
        peerchat_person_free(None);
        peerchat_string_free(None);
    }
}

fn log(input: &mut Input<'_>) {
    let level = i32::from(input.byte()) - 2;
    let callback = if input.flag() { Some(logged as _) } else { None };
    check(peerchat_log_set(level, callback, ptr::null_mut()));
}

/// Where to bootstrap: at the client itself, at nobody, or at what is no address.
fn address(client: Option<&peerchat_t>, input: &mut Input<'_>) -> Option<CString> {
    match input.below(4) {
        0 => Some(c"127.0.0.1:1".to_owned()),
        1 => {
            let own = out(input, |slot| peerchat_local_address(client, slot)).flatten();
            let address = own.as_ref().map(|own| CString::new(own.to_str()).unwrap_or_default());
            peerchat_string_free(own);
            address
        }
        _ => string(input).filter(|text| {
            let text = text.to_str().unwrap_or_default();
            text.parse::<BootstrapAddress>().is_err()
        }),
    }
}

/// The life of a client in memory and on disk, calls with NULLs only, and random programs.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let create: &[u8] = &[48, 0, 0, 1, 1, 0];
    // What each question takes besides: mostly where to write to.
    let ask = |what: u8| {
        let more: &[u8] = match what {
            10 | 13 => &[0, 0],
            12 => &[1, 0],
            14 => &[0, 1, 10, 0],
            15 => &[2, 2, 0, 0],
            16 => &[1, 0, 1, 10, 0],
            17 => &[7, 1],
            18 => &[1, 0, 2],
            19 => &[3, 2],
            20 => &[3, 4, 2, 0, 0],
            _ => &[0],
        };
        [&[64, 1, 2, 0, what], more].concat()
    };
    // The last two of them give nothing, and so have nowhere to write to.
    let send = |way: u8, text: &[u8]| {
        let out: &[u8] = if way < 4 { &[0, 0] } else { &[0] };
        Script::default().put(&[160, 1, 2, way, 0, 0]).bytes(text).put(out).done()
    };
    let relate = |what: u8| [&[128, 1, 2, what][..], if what < 5 { &[] } else { &[1] }].concat();
    let poll: &[u8] = &[208, 1, 0, 1];
    let asked: Vec<u8> = (0..21).flat_map(ask).collect();
    let related: Vec<u8> = (0..7).flat_map(relate).collect();
    let sent: Vec<u8> = (0..6).flat_map(|way| send(way, b"hello")).collect();
    // On disk as alice: to `archive` with the passphrase "bob", and from there to where a profile can and cannot be.
    let on_disk: &[u8] = &[48, 0, 0, 0, 1, 0];
    let export: &[u8] = &[64, 1, 2, 0, 19, 3, 2];
    let import = |to: u8| vec![64, 1, 2, 0, 20, 3, to, 2, 0, 0];
    let moved = [export, &import(4), &import(2), &import(3)].concat();
    let find: &[u8] = &[64, 1, 0, 0, 16, 1, 0, 1, 10, 0];
    let log: &[u8] = &[64, 1, 0, 0, 17, 7, 1];
    let close: &[u8] = &[240, 1, 1];
    let nothing: Vec<u8> = (64..=255).step_by(7).flat_map(|call| [call, 0, 0, 0, 0, 0, 0, 0]).collect();
    let mut seeds = vec![
        [create, &asked].concat(),
        [create, &sent, poll, poll].concat(),
        [create, &sent, &related, poll, &asked, close, &asked].concat(),
        [&[48, 0, 0, 0, 1, 0][..], &sent, &asked].concat(),
        [on_disk, log, &sent, find, &moved, close].concat(),
        [create, log, &sent, find, poll].concat(),
        [create, &[208, 1, 3, 1, 0, 0], poll, poll, &[240, 0], create, &send(0, &[0xff, 0xfe])].concat(),
        nothing,
    ];
    seeds.extend(random_programs(4, 400));
    seeds
}
