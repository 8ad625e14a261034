//! What must hold in the end: all faults stop, everybody joins, everything works; all leave, and nothing is left.

use std::time::Duration;

use super::Checker;
use super::truth::Life;
use super::world::{Asked, ConnId, Program, Tag, World};
use crate::hub::Census;
use crate::limits::{BEATS_DEAD, BEATS_REMOVED, RETRY_MAX};
use crate::name::Name;
use crate::node::Standing;

/// Long enough for whoever waits for the next try, a proof that was held back, or a ping.
const SETTLED: Duration = Duration::from_secs(40);

impl World {
    pub(super) fn end(&mut self) {
        self.recovers();
        self.loses_a_provider();
        // Another of its name may have waited for it to go.
        self.run_for(RETRY_MAX * 2);
        self.works();
        self.everybody_leaves();
    }

    /// Nothing goes wrong any more.
    fn recovers(&mut self) {
        if self.failed.is_some() {
            return;
        }
        self.trace.line(self.now, format_args!("no more faults"));
        // What is paused goes on by itself, at the latest after the longest pause.
        for _ in 0..100 {
            self.run_for(Duration::from_secs(1));
            self.check_lost_calls();
        }
        self.calm = true;
        self.calm_since = Some(self.now);
        let tags: Vec<Tag> = self.programs.keys().copied().collect();
        for tag in tags {
            let Some(program) = self.programs.get_mut(&tag) else { continue };
            program.taking = true;
            program.journals.idle = false;
            if program.hostile {
                // Who sends nonsense has nothing to say in the end.
                let conn = program.conn;
                self.forget_program(tag);
                if let Some(conn) = conn {
                    self.detach(tag, conn);
                }
            }
        }
        // A link that nobody sees the end of is found out by its silence.
        self.run_for(self.config.membership.beat * (BEATS_DEAD + 1) + SETTLED);
        let tags: Vec<Tag> = self.programs.keys().copied().collect();
        for tag in tags {
            self.take(tag);
        }
    }

    fn members(&self) -> Vec<Tag> {
        self.programs.iter().filter(|(_, program)| program.node.is_joined()).map(|(tag, _)| *tag).collect()
    }

    /// Everybody is joined, and every subscription gets what comes next.
    fn works(&mut self) {
        self.check_members();
        if self.failed.is_some() {
            return;
        }
        let names: Vec<Name> = self.programs.values().map(|program| program.name.clone()).collect();
        for name in names {
            let may = |(tag, program): &(&Tag, &Program)| !program.wrong_token && !self.is_shut_out(**tag);
            let of_name = || {
                let may_join = self.programs.iter().filter(may).map(|(_, program)| program);
                may_join.filter(|program| program.name == name)
            };
            let ended = of_name().all(|program| matches!(program.node.standing(), Standing::Ended(_)));
            let joined = of_name().filter(|program| program.node.is_joined()).count();
            if joined != usize::from(!ended) {
                let standing: Vec<Standing> = of_name().map(|program| program.node.standing()).collect();
                return self.fail(Checker::Liveness, format!("{joined} programs of `{name}` are joined: {standing:?}"));
            }
        }
        let members = self.members();
        if members.is_empty() {
            return;
        }
        let subscribed: Vec<(Tag, u32, String)> = members
            .iter()
            .flat_map(|tag| {
                let program = self.programs.get(tag);
                program
                    .into_iter()
                    .flat_map(|program| program.subscribers.iter())
                    .map(|(id, one)| (*tag, *id, one.pattern.as_str().replace('+', "b").replace('#', "c")))
            })
            .collect();
        let free: Vec<Tag> = members.iter().copied().filter(|tag| !self.is_ward(*tag)).collect();
        let publishers = if free.is_empty() { &members } else { &free };
        for (_, _, topic) in &subscribed {
            let from = self.dice.pick(publishers);
            self.publish(from, topic, 20);
            self.asks(from, Asked::Confirm);
        }
        self.check_lost_providers();
        self.handles_all();
        for tag in &members {
            if !self.mode.dense {
                self.calls(*tag, "s/a");
                self.calls(*tag, "again");
            }
            self.writes(*tag);
            if !self.is_ward(*tag) {
                self.appends(*tag);
            }
            if self.mode.dense {
                self.waits_in_the_end(*tag);
            }
            self.gets(*tag, "#");
            self.asks(*tag, Asked::Barrier);
            self.asks(*tag, Asked::Ping);
        }
        // Until also what has a time to live is gone.
        self.run_for(Duration::from_secs(30));
        self.left_in_memory.clear();
        self.looked = !free.is_empty();
        for tag in &members {
            self.gets(*tag, "#");
        }
        self.run_for(Duration::from_secs(2));
        self.check_rows();
        self.check_groups_in_the_end();
        for (tag, id, _) in subscribed {
            self.check_subscription_in_the_end(tag, id);
        }
        for tag in members {
            let Some(program) = self.programs.get(&tag) else { continue };
            if !program.node.is_joined() {
                return self.fail(Checker::Liveness, format!("program {tag} did not stay joined"));
            }
            if let Some((id, request)) = program.requests.first_key_value() {
                let text = format!("request {id} ({:?}) of program {tag} has no answer", request.what);
                return self.fail(Checker::Answers, text);
            }
            let open = program.calls.made.len();
            if open > 0 {
                return self.fail(Checker::Calls, format!("{open} calls of program {tag} have not ended"));
            }
            let (writes, gets) = (program.values.writes.len(), program.values.gets.len());
            if writes + gets > 0 {
                let text = format!("{writes} writes and {gets} gets of program {tag} have no answer");
                return self.fail(Checker::Answers, text);
            }
            self.check_watches_in_the_end(tag);
            self.check_journals_in_the_end(tag);
            self.check_losses(tag, &[], true);
        }
    }

    /// All leave; the hub holds nothing of them but the incarnations of those who did not say goodbye.
    fn everybody_leaves(&mut self) {
        let tags: Vec<Tag> = self.programs.keys().copied().collect();
        for tag in tags {
            self.leaves(tag);
        }
        // Who has said goodbye is dead at once.
        self.run_for(Duration::from_secs(1));
        self.check_members();
        // Until nobody is even remembered as dead.
        self.run_for(self.config.membership.beat * BEATS_REMOVED + SETTLED);
        if self.failed.is_some() {
            return;
        }
        self.check_protocol();
        self.check_presence_in_the_end();
        let left: Vec<ConnId> = self.conns.iter().filter(|(_, conn)| conn.link.is_some()).map(|(id, _)| *id).collect();
        let Some(hub) = &self.hub else { return };
        let census = hub.census();
        let sessions = self.sessions as usize;
        if let Some((name, has)) = self.truth.values.iter().find(|(_, has)| has.owner.is_some() || has.expires_ms > 0) {
            return self.fail(Checker::Kept, format!("`{name}` should be gone by itself: {has:?}"));
        }
        let lasting = self.left_in_memory.values().filter(|(.., life)| *life == Life::Lasting).count();
        // Where nobody was left to look, nobody knows what is in memory.
        let known = self.truth.values.len() + self.principals();
        let unknown = if self.looked { 0 } else { census.values.saturating_sub(known) };
        let values = self.truth.values.len() + lasting + unknown + self.principals();
        let census = Census { values_bytes: 0, ..census };
        if census != (Census { incarnations: sessions, values, ..Census::default() }) || !left.is_empty() {
            let text = format!(
                "all have left, {sessions} of them without a goodbye, {values} values are there, \
                 and links {left:?} remain: {census:?}"
            );
            self.fail(Checker::NothingLeft, text);
        }
    }
}
