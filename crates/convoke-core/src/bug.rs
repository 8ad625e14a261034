//! Bugs that can be switched on, so that the simulator can show that it would find them. Without the feature `sim` none
//! exists and every question is answered `false` when the program is compiled.

/// A bug that is planted in the real code at the place where it would happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A Lagged tells one event too few.
    LaggedOffByOne,
    /// Dropped events are not announced.
    LossNotAnnounced,
    /// A node does not tell its subscriptions that the link was cut.
    GapForgotten,
    /// Subscriptions of a link that is gone stay in the table.
    SubscriptionsSurvive,
    /// A node that comes back does not subscribe again.
    SubscriptionsNotRestored,
    /// An event goes to two members of a group.
    GroupGetsTwice,
    /// What waits for a member of a group goes with its link.
    OrphansForgotten,
    /// A topic's route is not built again when a subscription is added.
    StaleRoute,
    /// Frames of a link whose node has moved to another are still obeyed.
    OlderLinkNotFenced,
    /// A link that comes back goes on in the middle of the event that the old one was cut in.
    FragmentsSurviveLink,
    /// The count of events that a publisher lost with its link is not told.
    PublisherLossNotTold,
    /// What waits for a link is written bulk first.
    NumbersAfterEvents,
    /// A write that comes twice is done twice.
    DuplicateApplied,
    /// A write happens whatever it expects.
    CompareAndSetAlways,
    /// What was applied is not kept in tables, and neither are the operations.
    TablesForgotten,
    /// Watches are not told of changes.
    WatchesNotFed,
    /// A write is acknowledged before it is kept.
    AcknowledgedTooEarly,
    /// A write is applied before it is kept.
    AppliedTooEarly,
    /// What was answered is not known any more after a start of the hub.
    AnswersForgotten,
    /// A node says that it has every answer while it waits for one.
    SettledTooEarly,
    /// A watch that goes on leaves out one change.
    CursorOffByOne,
    /// A watch that goes on is not told what was deleted.
    DeletionsNotTold,
    /// A node hands out changes that belong together one by one.
    GroupsTornApart,
    /// A write that is sent again has another number.
    ResentAsAnother,
    /// What the foundation does not know is told not to be done.
    UncertainIsNotDone,
    /// Nobody looks after the ephemeral values of those who do not come back after a start of the hub.
    EphemeralOutlivesHub,
    /// Ephemeral values go as soon as the link of their node is gone.
    EphemeralGoesWithLink,
    /// What has a time to live goes when half of it is over.
    HalfTheTimeToLive,
    /// Calls that a lost provider had are told certainly not to be handled.
    LostIsRefused,
    /// Calls that a lost provider had wait for it for longer than they may.
    LostIsWaitedFor,
    /// Calls that have waited for a provider are given to it in another order than that in which they came.
    WaitingIsNoQueue,
    /// A reply goes to another call of the caller.
    ReplyOfAnother,
    /// A node does not end calls that the hub has not ended in time.
    OverdueForgotten,
    /// A node without a link is dead at once.
    SuspectIsDead,
    /// While the hub stands still the silence of nodes is counted.
    StallCounted,
    /// The dead are never removed.
    DeadStay,
    /// A provider tells what became of a call to whoever names its incarnation.
    RecalledByAnother,
    /// A node that comes back with other rights is told what came of calls that only its old ones allowed.
    ResumedAsAnother,
    /// Of a node that is away replies and calls that wait outlive a change of its rights.
    AwayKeepReplies,
    /// A change of rights that the foundation was asked to keep again is done again.
    GrantedTwice,
    /// Rights are not asked when the route of a topic is made.
    RouteIgnoresRights,
    /// What is denied on the names of a pattern is allowed.
    DenyOfPatternsIgnored,
    /// A change of rights does not end links.
    RightsOutliveChange,
    /// A watch is told whatever matches.
    WatchNotFiltered,
    /// `%node` stands for the name of another node.
    NodeOfAnother,
    /// Rights are not asked for calls.
    CallsNotAsked,
    /// Rights are not asked for writes.
    WritesNotAsked,
    /// An append is acknowledged before it is kept.
    AppendAcknowledgedTooEarly,
    /// Who follows is told an entry before it is kept.
    AppendAppliedTooEarly,
    /// What was answered to appends is not known any more after a start of the hub.
    AppendsForgotten,
    /// An append is taken for that of another incarnation which has the same number.
    NumbersShared,
    /// After a start of the hub the place of the last entry is given once more.
    LastEntryAgain,
    /// An entry is told as soon as it is there, also to a follower that has not yet got the older ones.
    LivePathBeside,
    /// Writes that are sent again come in another order.
    ResentInAnotherOrder,
    /// An undo happens whatever is next to be undone.
    TopNotExpected,
    /// What was undone can be done again although its author has done something since.
    RedoSurvivesCommand,
    /// A replica undoes the first command of a group only.
    GroupUndoneInPart,
    /// A follower that has other entries is told those of now.
    DivergedMissed,
    /// A follower that goes on is left out one entry.
    FollowerResumesLate,
    /// Entries that the program has not taken go with the link of its node.
    QueueGoesWithLink,
    /// An entry that the foundation did not keep is told.
    EntryOfFailedCommit,
    /// What was answered to an append is forgotten with the next one.
    WindowDroppedTooEarly,
    /// An entry has the name of another node.
    AuthorOfAnotherNode,
    /// What is too far back can be undone.
    HorizonIgnored,
    /// What another has done can be undone as one's own.
    ScopeIgnored,
    /// An append happens whatever is last.
    ExpectedLastIgnored,
    /// After a start of the hub nothing of a journal can be undone.
    UnitsForgotten,
    /// What was appended in the last moment before a start of the hub is decided without what could be undone.
    UnitsTooLate,
    /// A follower that needs the entry which has just left memory is told the next one.
    MemoryOffByOne,
    /// A replica undoes what is far back beginning with a state that has it.
    ReplicaTooNear,
    /// A follower that has taken entries is not given more.
    CreditForgotten,
    /// A node that comes back does not follow again.
    FollowersNotRestored,
    /// An undo is done although others have gone on from what it undoes.
    WayIgnored,
    /// After a start of the hub a journal does not know whom it says to be members.
    MembersForgotten,
    /// The inverses of a group are applied in the order of its commands.
    InversesInOrder,
    /// A write is told not to be done although it was kept, because there was no room for it a second time.
    KeptIsNotDone,
    /// A write that was told not to be done is done when it comes again.
    RefusedComesAgain,
    /// Rights are not asked for journals that are followed.
    EntriesNotAsked,
    /// Rights are not asked for commands.
    AppendsNotAsked,
    /// Who may execute may undo.
    UndoIsExecute,
    /// All are told to have applied an entry when all but one have.
    LastMemberNotAwaited,
    /// Who waits is not told of what members apply from then on.
    WaitsNotPassed,
    /// After a start of the hub those who have come back so far are all.
    ReturnNotAwaited,
    /// Of two followers of a node the one that is ahead counts.
    FasterFollowerCounts,
    /// What became of something is told before all is ordered that was on its way.
    StatusNotFenced,
    /// Entries go for which no snapshot stands.
    CompactsBeyondSnapshot,
    /// A snapshot is told to be of another place.
    SnapshotOfAnotherPlace,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 87] = [
        Bug::LaggedOffByOne,
        Bug::LossNotAnnounced,
        Bug::GapForgotten,
        Bug::SubscriptionsSurvive,
        Bug::SubscriptionsNotRestored,
        Bug::GroupGetsTwice,
        Bug::OrphansForgotten,
        Bug::StaleRoute,
        Bug::OlderLinkNotFenced,
        Bug::FragmentsSurviveLink,
        Bug::PublisherLossNotTold,
        Bug::NumbersAfterEvents,
        Bug::DuplicateApplied,
        Bug::CompareAndSetAlways,
        Bug::TablesForgotten,
        Bug::WatchesNotFed,
        Bug::AcknowledgedTooEarly,
        Bug::AppliedTooEarly,
        Bug::AnswersForgotten,
        Bug::SettledTooEarly,
        Bug::CursorOffByOne,
        Bug::DeletionsNotTold,
        Bug::GroupsTornApart,
        Bug::ResentAsAnother,
        Bug::UncertainIsNotDone,
        Bug::EphemeralOutlivesHub,
        Bug::EphemeralGoesWithLink,
        Bug::HalfTheTimeToLive,
        Bug::LostIsRefused,
        Bug::LostIsWaitedFor,
        Bug::WaitingIsNoQueue,
        Bug::ReplyOfAnother,
        Bug::OverdueForgotten,
        Bug::SuspectIsDead,
        Bug::StallCounted,
        Bug::DeadStay,
        Bug::RecalledByAnother,
        Bug::ResumedAsAnother,
        Bug::AwayKeepReplies,
        Bug::GrantedTwice,
        Bug::RouteIgnoresRights,
        Bug::DenyOfPatternsIgnored,
        Bug::RightsOutliveChange,
        Bug::WatchNotFiltered,
        Bug::NodeOfAnother,
        Bug::CallsNotAsked,
        Bug::WritesNotAsked,
        Bug::AppendAcknowledgedTooEarly,
        Bug::AppendAppliedTooEarly,
        Bug::AppendsForgotten,
        Bug::NumbersShared,
        Bug::LastEntryAgain,
        Bug::LivePathBeside,
        Bug::ResentInAnotherOrder,
        Bug::TopNotExpected,
        Bug::RedoSurvivesCommand,
        Bug::GroupUndoneInPart,
        Bug::DivergedMissed,
        Bug::FollowerResumesLate,
        Bug::QueueGoesWithLink,
        Bug::EntryOfFailedCommit,
        Bug::WindowDroppedTooEarly,
        Bug::AuthorOfAnotherNode,
        Bug::HorizonIgnored,
        Bug::ScopeIgnored,
        Bug::ExpectedLastIgnored,
        Bug::UnitsForgotten,
        Bug::UnitsTooLate,
        Bug::MemoryOffByOne,
        Bug::ReplicaTooNear,
        Bug::CreditForgotten,
        Bug::FollowersNotRestored,
        Bug::WayIgnored,
        Bug::MembersForgotten,
        Bug::InversesInOrder,
        Bug::KeptIsNotDone,
        Bug::RefusedComesAgain,
        Bug::EntriesNotAsked,
        Bug::AppendsNotAsked,
        Bug::UndoIsExecute,
        Bug::LastMemberNotAwaited,
        Bug::WaitsNotPassed,
        Bug::ReturnNotAwaited,
        Bug::FasterFollowerCounts,
        Bug::StatusNotFenced,
        Bug::CompactsBeyondSnapshot,
        Bug::SnapshotOfAnotherPlace,
    ];
}

#[cfg(feature = "sim")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        // A simulation runs in one thread, so that others beside it are not touched.
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    pub(crate) fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Switches one bug on, or all off, for the state machines that run in this thread.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }
}

#[cfg(not(feature = "sim"))]
mod switch {
    use super::Bug;

    #[inline(always)]
    pub(crate) const fn planted(_: Bug) -> bool {
        false
    }
}

#[cfg(feature = "sim")]
pub use switch::plant;
pub(crate) use switch::planted;
