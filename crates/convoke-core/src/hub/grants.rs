//! Who may do what, as it is asked for, decided, kept and put in force.

use super::{HubIdentity, HubState, LinkId, Timer};
use crate::bug::{Bug, planted};
use crate::frame::{Change, Grant};
use crate::kept::Granted;
use crate::limits::{NODE_NAME_BYTES_MAX, NODE_NAME_WORDS_MAX, RIGHTS_TIME_MAX, RULES_MAX};
use crate::name::Name;
use crate::operation::{GrantId, Operation};
use crate::proof::TokenKey;
use crate::refusal::{Code, Refusal};
use crate::report::{TOKENS, TokenReport};
use crate::rights::{Principal, Rights, Rule, RuleError, Verb, allow};

/// Who wants to join, as it was proved, and with which rights; for a program that decides by itself whom its hub lets in.
#[derive(Clone, Copy, Debug)]
pub struct Applicant<'a> {
    /// The name of the node.
    pub node: &'a Name,
    /// Who is to be answerable for what it does.
    pub author: &'a Name,
    /// Who it has proved to be.
    pub principal: &'a Name,
    /// What it may do, unless the program says otherwise.
    pub rights: &'a Rights,
}

/// Decides whether a node may join: with the rights that it has (`None`), with others, or not at all. It is asked while
/// the hub stands still, and so must not wait for anything.
pub type Admission = dyn Fn(Applicant<'_>) -> Result<Option<Rights>, Refusal> + Send;

impl HubState {
    /// Lets this decide on every node that has proved who it is.
    pub fn set_admission(&mut self, admission: Box<Admission>) {
        self.admission = Some(admission);
    }

    /// The key by which this principal proves who it is; none if there is no such principal, or it has no key.
    pub(super) fn key_of(&self, name: &Name) -> Option<&TokenKey> {
        self.tokens.get(name).or_else(|| self.kept.principals.get(name)?.key.as_ref())
    }

    /// What a principal may do as this node and author. Asked again when it has proved who it is: it may have lost all
    /// rights since it began.
    pub(super) fn rights_of(&self, principal: &Name, node: &Name, author: &Name) -> Option<Rights> {
        if self.tokens.contains_key(principal) {
            return Some(Rights::everything());
        }
        let granted = self.kept.principals.get(principal)?;
        let node = if planted(Bug::NodeOfAnother) { self.nodes.keys().next().unwrap_or(node) } else { node };
        Some(Rights::new(&granted.rules, node, author))
    }

    /// A node wants to change who may do what.
    pub(super) fn grant(&mut self, id: LinkId, grant: &Grant<'_>) {
        if let Err(refusal) = self.try_grant(id, grant) {
            self.refuse(id, grant.id, &refusal);
        }
    }

    fn try_grant(&mut self, id: LinkId, grant: &Grant<'_>) -> Result<(), Refusal> {
        let name = Name::from_bytes(grant.name).map_err(|error| Refusal::new(Code::BadName, error.to_string()))?;
        let report = format!("{TOKENS}{name}");
        let Some(joined) = self.links.joined(id) else { return Ok(()) };
        if !allow(&joined.principal, Verb::Administer, &report) {
            return Err(joined.principal.forbidden(&format!("token `{name}`"), Verb::Administer, &report));
        }
        let refused = |code, why: &str| Err(Refusal::new(code, format!("token `{name}`: {why}")));
        if name.is_reserved() {
            return refused(Code::BadName, "names that begin with `$` are the hub's own");
        }
        if name.words().any(|word| word.starts_with('%')) {
            return refused(Code::BadName, "words that begin with `%` have a meaning in rules");
        }
        if name.as_str().len() > NODE_NAME_BYTES_MAX || name.words().count() > NODE_NAME_WORDS_MAX {
            let why = format!("its name has at most {NODE_NAME_BYTES_MAX} bytes and {NODE_NAME_WORDS_MAX} words");
            return refused(Code::BadName, &why);
        }
        if self.tokens.contains_key(&name) || name.as_str() == super::join::OWNER {
            return refused(Code::BadRequest, "it is the hub's own, and stays as it is in the folder of the hub");
        }
        if let Change::Create { rules, .. } | Change::Rules(rules) = &grant.change {
            if rules.len() > RULES_MAX {
                return refused(Code::Limit, &format!("it has at most {RULES_MAX} rules"));
            }
            for rule in rules {
                let rule = rule
                    .parse::<Rule>()
                    .map_err(|error: RuleError| Refusal::new(Code::BadRequest, format!("token `{name}`: {error}")))?;
                check_gift(&joined.principal, &name, &rule)?;
            }
        }
        if let (Change::Key(_), Some(granted)) = (&grant.change, self.kept.principals.get(&name)) {
            // Who has its secret has its rights.
            granted.rules.iter().try_for_each(|rule| check_gift(&joined.principal, &name, rule))?;
        }
        self.conversation.check_room()?;
        let HubIdentity { hub, epoch, .. } = self.identity;
        let by = GrantId { hub, epoch, number: self.conversation.next_grant() };
        let operation =
            Operation::Grant { by, name: grant.name, wall_ms: self.wall_ms(), change: grant.change.clone() };
        self.conversation.wait_grant(&operation, id, grant.id);
        self.append_grant();
        Ok(())
    }

    /// A change of rights was decided: it is in force from here on.
    pub(super) fn granted(&mut self, granted: Granted, asked: Option<(LinkId, u32)>) {
        let Granted { principal: name, done, again } = granted;
        let name = &name;
        // Links that have joined since it was applied have the rights that it gives.
        let changes = done.is_ok() && !again;
        if changes && !planted(Bug::RightsOutliveChange) {
            self.tell_token(name);
            let links = self.links.ids();
            let concerned: Vec<LinkId> = links
                .into_iter()
                .filter(|id| self.links.joined(*id).is_some_and(|joined| joined.principal.name == *name))
                .filter(|id| asked.is_none_or(|(link, _)| link != *id))
                .collect();
            for link in concerned {
                self.shut_out(link, name);
            }
            // Of links that were being closed already it is not known any more whose they were.
            for link in self.links.ids() {
                if self.links.get(link).is_some_and(|link| link.is_closing()) {
                    self.ends_soon(link);
                }
            }
            self.recant_away(name);
        }
        let Some((link, number)) = asked else { return };
        match done {
            Ok(()) => self.control(link, &crate::frame::Frame::Done { id: number, value: 0 }),
            Err(why) => self.refuse(link, number, &why),
        }
        // Who has changed its own rights is told so first.
        if changes && self.links.joined(link).is_some_and(|joined| joined.principal.name == *name) {
            self.shut_out(link, name);
        }
    }

    /// Closes a link, with all that waits on it. What its shell has taken to write already leaves, if the node takes it soon.
    fn shut_out(&mut self, link: LinkId, name: &Name) {
        self.close(link, changed(name));
        self.ends_soon(link);
    }

    fn ends_soon(&mut self, link: LinkId) {
        let (due, timer) = (self.now + RIGHTS_TIME_MAX, Timer::Stuck(link));
        if self.timers.due(timer).is_none_or(|before| before > due) {
            self.timers.set(due, timer);
        }
    }

    /// Tells what a principal may do, under `$hub/tokens/`.
    fn tell_token(&mut self, name: &Name) {
        let report = self.kept.principals.get(name).map(|granted| TokenReport {
            rules: granted.rules.iter().map(Rule::to_string).collect(),
            secret: granted.key.is_some(),
            since_ms: granted.since_ms,
        });
        let json = report.map(|report| serde_json::to_string(&report).expect("plain fields can be written"));
        self.set_hub_value(&format!("{TOKENS}{name}"), json.as_deref());
    }

    /// All that was kept is here again.
    pub(super) fn tell_tokens(&mut self) {
        let names: Vec<Name> = self.kept.principals.iter().map(|(name, _)| name.clone()).collect();
        for name in names {
            self.tell_token(&name);
        }
    }
}

fn check_gift(giver: &Principal, name: &Name, rule: &Rule) -> Result<(), Refusal> {
    if giver.rights.may_give(rule) {
        return Ok(());
    }
    let text = format!("token `{name}`: `{}` cannot give what it does not have itself: `{rule}`", giver.name);
    Err(Refusal::new(Code::Forbidden, text))
}

fn changed(name: &Name) -> Refusal {
    Refusal::new(Code::RightsChanged, format!("the rights of `{name}` have changed"))
}
