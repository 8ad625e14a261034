//! Every bound of the core, with its unit and its reason. docs/protocol.md lists those a foreign implementation meets.

use std::time::Duration;

/// What one fragment of an event carries at most, in bytes: at 1 Gbit/s it keeps the lanes before it waiting half a
/// millisecond.
pub const FRAGMENT_BYTES_MAX: usize = 64 << 10;

/// The longest frame: an event's head and one fragment.
pub const FRAME_BYTES_MAX: usize = crate::frame::EVENT_HEAD_BYTES + FRAGMENT_BYTES_MAX;

/// What a hub accepts as one payload (headers included) unless configured otherwise, in bytes.
pub const PAYLOAD_BYTES_DEFAULT: usize = 1 << 20;

/// What a hub can be configured to accept as one payload, in bytes. A payload is collected whole before it is routed.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// Names and values of one event's headers together, in bytes: trace context and a few dozen pairs.
pub const HEADERS_BYTES_MAX: usize = 16 << 10;

/// The first frame of a link, in bytes: a Hello with the longest names is a tenth of it.
pub const HELLO_BYTES_MAX: usize = 16 << 10;

/// All that a link may send before it has joined, in bytes.
pub const BEFORE_JOIN_BYTES_MAX: usize = 64 << 10;

/// How long a link may take to join: a slow human is not on the other end.
pub const JOIN_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a frame may take from its first byte to its last, once its link has joined: the longest at 2 KiB a second.
pub const FRAME_TIME_MAX: Duration = Duration::from_secs(30);

/// Links of a hub. An idle one costs about a kilobyte.
pub const LINKS_MAX: usize = 10_000;

/// Links from one address, or of IPv6 from one network of 2^64 addresses, which anybody may have: so nobody takes all that a
/// hub may have, and a busy machine behind one address still has enough. Those of the hub's own machine are not counted.
pub const LINKS_PER_SOURCE_MAX: usize = 1000;

/// Subscriptions of one link.
pub const SUBSCRIPTIONS_PER_LINK_MAX: usize = 10_000;

/// Links whose members of a group are compared when an event comes: those whose turn is next. More would cost each event more,
/// and choose little better.
pub const GROUP_LOOKED_AT_MAX: usize = 8;

/// Members of one group on one link. More would get more of its events, and cost the hub more for each.
pub const GROUP_MEMBERS_PER_LINK_MAX: usize = 16;

/// Publishers that are gone and whose names are kept for a link with members of groups, since their events may still wait
/// there. Of more, those who joined first are forgotten: what still waits of theirs cannot be given to others, and is told as
/// lost.
pub const DEPARTED_MAX: usize = 4096;

/// Subscriptions of a hub.
pub const SUBSCRIPTIONS_MAX: usize = 2_000_000;

/// What may wait in the bulk lane of one link before its slow policy decides, in bytes: a second of a busy 64 Mbit/s
/// reader.
pub const LINK_BULK_BYTES_MAX: usize = 8 << 20;

/// What may wait in the bulk lanes of all links of a hub, in bytes. When it is reached every link counts as full that has
/// its share of it, which is the same for all links that there may be: those who read feel nothing. So it may be exceeded
/// by as much again.
pub const HUB_BULK_BYTES_MAX: usize = 1 << 30;

/// What may wait in the control lane of one link, in bytes. Beats, answers and numbers are a few dozen bytes each; a
/// link that lets so many pile up does not read, and is closed.
pub const LINK_CONTROL_BYTES_MAX: usize = 1 << 20;

/// What the announcement of events that a link lost may have, in bytes, before the link is closed: some ten thousand names
/// without a number. Until a link takes something each such name that it lost an event of is kept for the announcement,
/// and a publisher can make up new ones for ever.
pub const LINK_LOSSES_BYTES_MAX: usize = 1 << 20;

/// Above this many bytes waiting in the control lane no more topic numbers are given to a link; it gets names instead.
pub const LINK_NUMBERS_BYTES_MAX: usize = 256 << 10;

/// What may wait in the calls lane of one link, in bytes.
pub const LINK_CALLS_BYTES_MAX: usize = 8 << 20;

/// What the shell is handed to write at once, in bytes: what a loopback socket takes well, and what a beat may wait
/// behind.
pub const TRANSMIT_BYTES: usize = 256 << 10;

/// Frames at least this long are shared between links instead of copied to each. Smaller ones cost less to copy than
/// to count, and would pin the whole buffer that they were read into.
pub const SHARED_FRAME_BYTES_MIN: usize = 16 << 10;

/// Topics that have a number in a hub at one time. Beyond it events travel under their names: slower, not lost.
pub const TOPICS_MAX: usize = 1 << 18;

/// Topic numbers one link may hold, so that no link takes the whole table.
pub const TOPICS_PER_LINK_MAX: usize = 1 << 16;

/// Incarnations a hub remembers for nodes that are away, oldest forgotten first.
pub const INCARNATIONS_AWAY_MAX: usize = 10_000;

/// How long an incarnation is remembered after its node was last heard.
pub const INCARNATION_AWAY_TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Pings a hub has forwarded and not yet seen answered.
pub const PINGS_MAX: usize = 4096;

/// How long the hub waits for a node to answer a ping.
pub const PING_TIME_MAX: Duration = Duration::from_secs(10);

/// How often a link that offers or follows nothing says that it is alive.
pub const BEAT: Duration = Duration::from_secs(15);

/// How often a link that offers or follows something says that it is alive.
pub const BEAT_ATTENTIVE: Duration = Duration::from_secs(1);

/// After so many beats without a byte a link is dead.
pub const BEATS_DEAD: u32 = 6;

/// A link that takes nothing for so long, although something waits for it, is closed.
pub const STUCK_TIME_MAX: Duration = Duration::from_secs(10);

/// A turn that comes later than this after it was due means that the hub itself stood still; what others owed it in
/// that time is forgiven.
pub const STALL: Duration = Duration::from_millis(250);

/// The shortest and the longest pause before a node tries its address again; the real one is random below the bound
/// that doubles from the first to the second.
pub const RETRY_MIN: Duration = Duration::from_millis(50);
/// See [`RETRY_MIN`].
pub const RETRY_MAX: Duration = Duration::from_secs(5);

/// What may wait for one subscription that its program does not read, in bytes.
pub const SUBSCRIPTION_BYTES_MAX: usize = 8 << 20;

/// What a node's own outgoing buffer takes before `publish` waits, in bytes.
pub const NODE_BULK_BYTES_MAX: usize = 2 << 20;

/// Requests (subscribe, confirm, ping, barrier) of one node without an answer yet.
pub const REQUESTS_MAX: usize = 65_536;

/// Changes of one write: what happens together is bounded, since it is decided and told in one go.
pub const BATCH_ITEMS_MAX: usize = 256;

/// Keys that one change of every key that matches may change: what happens together stalls everybody meanwhile.
pub const EVERY_KEYS_MAX: usize = 10_000;

/// Payloads of one such change, over all keys that match, in bytes.
pub const EVERY_BYTES_MAX: usize = 16 << 20;

/// Principals of a hub beside its owner.
pub const PRINCIPALS_MAX: usize = 10_000;

/// Hubs of which it is known which change of rights they have asked for last: more than share a foundation.
pub const GRANTERS_MAX: usize = 1000;

/// Rules of one principal. Each is looked at whenever its rights are asked.
pub const RULES_MAX: usize = 64;

/// How long a link may still take what was on its way to it when its rights changed.
pub const RIGHTS_TIME_MAX: Duration = Duration::from_secs(1);

/// Values of a hub, in memory and on disk.
pub const VALUES_MAX: usize = 1_000_000;

/// Names and payloads of all values together, in bytes. They are in memory.
pub const VALUES_BYTES_MAX: usize = 1 << 30;

/// One value, in bytes. What is longer is a file, and belongs into one.
pub const VALUE_BYTES_MAX: usize = 256 << 10;

/// Durable changes that are kept for those who watch every one, beside the values themselves.
pub const CHANGES_MAX: usize = 1 << 17;

/// The same, in bytes; fewer where [`HubConfig::changes_bytes_max`](crate::HubConfig::changes_bytes_max) says so.
pub const CHANGES_BYTES_MAX: usize = 256 << 20;

/// Of the durable changes that are beyond these bounds so many are forgotten with each operation, or as many as it adds:
/// less than a millisecond.
pub const CHANGES_FORGOTTEN_MAX: usize = 1024;

/// The newest of these that are also in memory, in bytes: who follows closely is served without asking the disk.
pub const CHANGES_RECENT_BYTES_MAX: usize = 4 << 20;

/// Keys without a value whose last revision is still known, so that who comes back is told that they are gone.
pub const DELETED_MAX: usize = 1 << 17;

/// Watches of one link.
pub const WATCHES_PER_LINK_MAX: usize = 10_000;

/// What gets have found, and their links have not yet taken, in bytes: each holds what there was at one moment, whatever
/// changes meanwhile. One is always let in, and so is one that its link can take at once.
pub const GETS_BYTES_MAX: usize = 256 << 20;

/// Values that do not match and are looked at for the watches of one link before others have their turn: less than a
/// millisecond.
pub const LOOKED_AT_MAX: i64 = 4096;

/// How long others have their turn then.
pub const LOOKED_AT_PAUSE: Duration = Duration::from_millis(1);

/// After so long a link may look at as many without a pause: who asks for little again and again need not wait.
pub const LOOKED_AT_REFILL: Duration = Duration::from_millis(100);

/// Bytes of Value frames that wait for one link. The rest waits as a cursor, which costs nothing.
pub const LINK_VALUES_BYTES_MAX: usize = 256 << 10;

/// Bytes of Value frames that may be on their way to one watch whose program does not take them.
pub const WATCH_WINDOW_BYTES: usize = 1 << 20;

/// Operations that the foundation has not yet answered, in bytes. What comes then is refused with `Backpressure`.
pub const APPENDING_BYTES_MAX: usize = 64 << 20;

/// What a hub keeps of its answers to writes until their nodes say that they have them, in bytes, those included that are
/// on their way. Who never says so must not fill the hub: nobody may have more of it than what is left for all others.
pub const ANSWERS_BYTES_MAX: usize = 64 << 20;

/// Questions about former incarnations that wait in a hub until these are fenced: a few batches of every program that is
/// started again at the same time.
pub const STATUSES_MAX: usize = 65_536;

/// How long a node waits until it asks again what became of what an earlier program of its name has sent, if the hub could
/// not say.
pub const STATUS_RETRY_TIME: Duration = Duration::from_secs(1);

/// What may wait in the outbox of a node, in appends: less than a node may have without an answer, so that what one program
/// leaves the next can always take.
pub const OUTBOX_COMMANDS_MAX: usize = 10_000;

/// The same, in bytes; the last may go beyond it.
pub const OUTBOX_BYTES_MAX: usize = 8 << 20;

/// Outcomes of what was posted that the program has not read: those of a day that was busy, then the oldest go.
pub const OUTBOX_ENDS_MAX: usize = 10_000;

/// Writes of one node that the hub has not yet answered, those kept while offline included; and in a hub those whose answer
/// the node has not said to have.
pub const WRITES_MAX: usize = 65_536;

/// The same, in bytes.
pub const WRITES_BYTES_MAX: usize = 16 << 20;

/// How long a call may take unless it says otherwise.
pub const CALL_TIME_DEFAULT: Duration = Duration::from_secs(10);

/// How long a call can be given.
pub const CALL_TIME_MAX: Duration = Duration::from_secs(3600);

/// Open calls of one caller.
pub const CALLS_PER_CALLER_MAX: usize = 4096;

/// Calls that one provider has and has not yet answered, of all services that it offers.
pub const CALLS_PER_PROVIDER_MAX: usize = 4096;

/// Registrations that a call is given to, one after the other, while each refuses it. Mostly one that has just been withdrawn
/// is the first and the last; so many refuse whatever they are given.
pub const CALL_REFUSALS_MAX: usize = 16;

/// The longest name of a service, in bytes, and its words: what the hub knows about it has a name too, three words longer.
pub const SERVICE_NAME_BYTES_MAX: usize = 480;
/// See [`SERVICE_NAME_BYTES_MAX`].
pub const SERVICE_NAME_WORDS_MAX: usize = 29;

/// What calls may have that a hub must keep to give them out later, in bytes: those that wait for a provider, and those that
/// an idempotent one has.
pub const CALLS_KEPT_BYTES_MAX: usize = 64 << 20;

/// Replies that wait for one caller, in bytes. What comes then is answered without its payload.
pub const LINK_REPLIES_BYTES_MAX: usize = 64 << 20;

/// Registrations of one link.
pub const SERVICES_PER_LINK_MAX: usize = 10_000;

/// Registrations of one name by one node. One would do: more are parts of a program that each offer it, without knowing of
/// each other. Each that is new is compared with all calls that wait for the name.
pub const REGISTRATIONS_PER_NAME_MAX: usize = 16;

/// Calls that wait for one name: so many the first provider that comes can be given.
pub const CALLS_WAITING_PER_NAME_MAX: usize = CALLS_PER_PROVIDER_MAX;

/// After the last byte of a provider whose link is lost, how long its calls wait for it to come back.
pub const PROVIDER_AWAY_TIME_MAX: Duration = Duration::from_secs(5);

/// Replies that a provider keeps, so that a call that is asked for again is not handled twice.
pub const REPLIES_KEPT_MAX: usize = 10_000;

/// The same, in bytes.
pub const REPLIES_KEPT_BYTES_MAX: usize = 8 << 20;

/// How long it keeps them.
pub const REPLIES_KEPT_TIME_MAX: Duration = Duration::from_secs(120);

/// The name of a node, in bytes, so that `$hub/nodes/` and more fits before it.
pub const NODE_NAME_BYTES_MAX: usize = 480;

/// The same, in words.
pub const NODE_NAME_WORDS_MAX: usize = 28;

/// Nodes that have no link and are not yet removed; the oldest go first.
pub const MEMBERS_AWAY_MAX: usize = 10_000;

/// How often what changes all the time is told to those who watch it.
pub const REPORT_PAUSE: Duration = Duration::from_secs(1);

/// What is looked at in such a pause to tell it, in rows; then what was found before must do until the next. It takes less
/// than a thirtieth of the pause, as [`LOOKED_AT_MAX`] takes less than a millisecond.
pub const REPORT_ROWS_MAX: i64 = 1 << 17;

/// Providers of one service that a hub lists.
pub const PROVIDERS_LISTED_MAX: usize = 4096;

/// Topics that a hub lists at one time.
pub const TOPICS_LISTED_MAX: usize = 10_000;

/// After so many beats without a byte a node is suspected.
pub const BEATS_SUSPECT: u32 = 3;

/// After so many beats a node that is dead is forgotten.
pub const BEATS_REMOVED: u32 = 30;

/// After what the foundation did not take, when the hub tries its own again.
pub const APPEND_RETRY_TIME: Duration = Duration::from_secs(1);

/// Commands and groups of a journal, from its end, that can be undone. Of each the hub and every replica know how it stands, in
/// some 200 bytes.
pub const UNDO_UNITS_MAX: usize = 100_000;

/// What the commands of a journal that can be undone have together, in bytes: followers hold them all, decoded. When there is
/// more, the oldest can be undone no more; the last one always can.
pub const UNDO_BYTES_MAX: usize = 64 << 20;

/// Keys that a command or a group touches, as far as they are told apart; with more it counts as one that touches everything.
/// What is known of four keys takes as much memory as a unit, and counts as one for [`UNDO_UNITS_ALL_MAX`].
pub const TOUCHED_MAX: usize = 16;

/// Entries that are named when they are in the way of an undo: enough to see what happened.
pub const IN_THE_WAY_MAX: usize = 8;

/// Units that can be undone, of all journals of a hub: 200 MiB. When there are more, each new one makes its journal forget its
/// oldest.
pub const UNDO_UNITS_ALL_MAX: usize = 1_000_000;

/// Journals of a hub.
pub const JOURNALS_MAX: usize = 10_000;

/// Members of all journals of a hub, each node counted once for each journal that it is a member of: 64 MiB.
pub const JOURNAL_MEMBERS_MAX: usize = 1 << 18;

/// Members of one journal that a hub lists.
pub const JOURNAL_MEMBERS_LISTED_MAX: usize = 4096;

/// Of the sentence in which a follower says why it goes no further, in bytes: enough to see what is to be done.
pub const STUCK_BYTES_MAX: usize = 256;

/// Waits of one link for what members of journals have applied.
pub const AWAITS_PER_LINK_MAX: usize = 1024;

/// What all such waits of a hub take, in bytes.
pub const AWAITS_BYTES_MAX: usize = 64 << 20;

/// Nodes that one such wait names: with the longest names they fit into a frame.
pub const AWAIT_NODES_MAX: usize = 100;

/// How long such a wait can be.
pub const AWAIT_TIME_MAX: Duration = Duration::from_secs(3600);

/// One command, in bytes; the same as a value.
pub const COMMAND_BYTES_MAX: usize = VALUE_BYTES_MAX;

/// A snapshot of a journal, in bytes: read and sent in a second or two. What a program needs more than that for is better kept
/// in files of which the journal has the names.
pub const SNAPSHOT_BYTES_MAX: usize = 64 << 20;

/// What is uploaded of a snapshot at a time, in bytes; the same as a command.
pub const SNAPSHOT_PIECE_BYTES_MAX: usize = COMMAND_BYTES_MAX;

/// The least of it, but for the last piece: so that a snapshot is some thousand pieces at most.
pub const SNAPSHOT_PIECE_BYTES_MIN: usize = 4 << 10;

/// What a follower is told of a snapshot in one frame, in bytes: a frame has room for twice that.
pub const BASE_BYTES_MAX: usize = 32 << 10;

/// After so long without a piece, by the hub's clock, an upload gives way to another one of no newer snapshot.
pub const UPLOAD_IDLE_TIME_MAX: Duration = Duration::from_secs(60);

/// How long a snapshot stays for those who are being told it, from when a newer one was first turned away for that: in this time
/// the longest comes over a link of 1 Mbit/s.
pub const SNAPSHOT_TOLD_TIME_MAX: Duration = Duration::from_secs(600);

/// Uploads and compactions of one link that wait until an entry was looked at: more than one program does at a time.
pub const LOOKS_PER_LINK_MAX: usize = 16;

/// Entries that are let go with one operation, since everybody waits meanwhile: some ten milliseconds.
pub const ENTRIES_COMPACTED_MAX: usize = 10_000;

/// What a hub holds of the last entries of all journals, for those who follow, in bytes. Older ones are read from where they
/// are kept.
pub const ENTRIES_RECENT_BYTES_MAX: usize = 64 << 20;

/// A piece of a backup that a hub gives, in bytes: so much at a time is in the way of other replies on its link.
pub const BACKUP_PIECE_BYTES_MAX: usize = 256 << 10;

/// How long a hub waits until it is asked for the next piece of a backup. Until then its store gives no room back that is in
/// the backup.
pub const BACKUP_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Other hubs of whose events a hub knows which have come; with more, the one of which nothing was heard for the longest is
/// forgotten, and what of it is still on a longer way would come twice.
pub const ORIGINS_MAX: usize = 1024;

/// Topics of one other hub for each of which it is known up to where its events have come: some 2 MiB. With more it is only
/// known of all of them together, so that what is slower on another way is not let in any more.
pub const ORIGIN_TOPICS_MAX: usize = 1 << 14;

/// Other hubs of which one journal has entries, or has got some. What is known of each takes a hundred bytes.
pub const JOURNAL_ORIGINS_MAX: usize = 1024;
