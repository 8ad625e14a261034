//! Who has applied an entry of a journal, of those whose acknowledgement counts.

use std::fmt;

pub use crate::frame::Attendance;
use crate::name::Name;

/// Which members of a journal must have applied an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// Every member. Without members that is so at once.
    All,
    /// More than half of the members.
    Quorum,
    /// So many members.
    Count(u32),
    /// The nodes of these names, [`AWAIT_NODES_MAX`](crate::limits::AWAIT_NODES_MAX) at most. One that is no member has applied
    /// nothing.
    Nodes(Vec<Name>),
}

/// Who has applied an entry of a journal, and who has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedBy {
    /// The place of the entry.
    pub seq: u64,
    /// All that were asked for have applied it. If not, it was too late to wait any longer.
    pub reached: bool,
    /// The place of the journal's last entry.
    pub last: u64,
    /// So many members there are; of nodes that were named, so many were.
    pub members: usize,
    /// So many of them have applied it.
    pub applied: usize,
    /// Each of them, those that have not applied it before all others; of very many not all.
    pub listed: Vec<MemberApplied>,
    /// The hub was started lately, and members of before may have yet to come back. Until they have, or would have been
    /// removed, it is not known whether all have applied it, or most.
    pub returning: bool,
}

/// What a member of a journal has applied, or a node that was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberApplied {
    /// The node.
    pub node: Name,
    /// Whether it is a member, and whether it is there.
    pub attendance: Attendance,
    /// It has applied every entry up to this one.
    pub applied: u64,
}

impl AppliedBy {
    /// Those that have applied it.
    pub fn applied(&self) -> impl Iterator<Item = &MemberApplied> {
        self.listed.iter().filter(|member| member.has_applied(self.seq))
    }

    /// Those that have not.
    pub fn lagging(&self) -> impl Iterator<Item = &MemberApplied> {
        self.listed.iter().filter(|member| !member.has_applied(self.seq))
    }
}

impl MemberApplied {
    fn has_applied(&self, seq: u64) -> bool {
        self.attendance != Attendance::Gone && self.applied >= seq
    }
}

/// Lagging members that are shown by name.
const SHOWN_MAX: usize = 8;

/// One sentence: how many have applied it, and who has not and why.
impl fmt::Display for AppliedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AppliedBy { seq, applied, members, .. } = self;
        write!(f, "entry {seq} is applied by {applied} of {members}")?;
        for (place, member) in self.lagging().take(SHOWN_MAX).enumerate() {
            let MemberApplied { node, attendance, applied } = member;
            f.write_str(if place == 0 { ": " } else { ", " })?;
            match (attendance, seq.saturating_sub(*applied)) {
                (Attendance::Gone, _) => write!(f, "`{node}` is no member")?,
                (Attendance::Away, lag) => write!(f, "`{node}` is away, {lag} behind")?,
                (Attendance::Here, lag) => write!(f, "`{node}` is {lag} behind")?,
                (Attendance::Stuck, _) => write!(f, "`{node}` cannot apply entry {}", applied + 1)?,
            }
        }
        let more = members.saturating_sub(*applied).saturating_sub(SHOWN_MAX);
        if more > 0 {
            write!(f, ", and {more} more")?;
        }
        if self.returning && !self.reached {
            f.write_str("; the hub was started lately, and others may have yet to come back")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_in_one_sentence() {
        let member = |node: &str, attendance, applied| {
            let node = Name::parse(node).unwrap();
            MemberApplied { node, attendance, applied }
        };
        let listed = vec![
            member("cai", Attendance::Here, 3),
            member("dan", Attendance::Away, 6),
            member("eve", Attendance::Gone, 8),
            member("fay", Attendance::Stuck, 4),
            member("ann", Attendance::Here, 7),
        ];
        let mut by = AppliedBy { seq: 7, reached: false, last: 9, members: 5, applied: 1, listed, returning: false };
        assert_eq!(
            by.to_string(),
            "entry 7 is applied by 1 of 5: `cai` is 4 behind, `dan` is away, 1 behind, `eve` is no member, `fay` cannot \
             apply entry 5"
        );
        assert_eq!(by.applied().map(|member| member.node.as_str()).collect::<Vec<_>>(), ["ann"]);
        (by.listed, by.returning) = (vec![], true);
        assert_eq!(
            by.to_string(),
            "entry 7 is applied by 1 of 5; the hub was started lately, and others may have yet to come back"
        );
        let many = (0..12).map(|number| member(&format!("n/{number}"), Attendance::Here, 0)).collect();
        let by = AppliedBy { seq: 7, reached: false, last: 9, members: 12, applied: 0, listed: many, returning: false };
        assert!(by.to_string().ends_with("`n/7` is 7 behind, and 4 more"), "{by}");
    }
}
