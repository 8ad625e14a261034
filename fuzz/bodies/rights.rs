//! Arbitrary bytes as rules of a principal, against what the pages say of them: what no rule allows is forbidden, what one
//! denies is forbidden whatever others allow, and nobody gives what it does not have.

use convoke_core::{Name, Pattern, Principal, Rights, Rule, Verb, Verdict, rights};

/// Between two texts; no text has it.
const BETWEEN: u8 = 0xfe;

/// The names of node and author, a name and a pattern that are asked for, then rules.
pub(crate) fn rights(data: &[u8]) {
    let texts: Vec<&str> =
        data.split(|byte| *byte == BETWEEN).filter_map(|bytes| std::str::from_utf8(bytes).ok()).collect();
    let [node, author, name, pattern, rules @ ..] = &texts[..] else { return };
    let rules: Vec<Rule> = rules.iter().take(8).filter_map(|text| read(text)).collect();
    let (Ok(node), Ok(author)) = (Name::parse(node), Name::parse(author)) else { return };
    let rights = Rights::new(&rules, &node, &author);
    assert!(rights.rules().len() <= rules.len());
    let given: Vec<bool> = rules.iter().map(|rule| rights.may_give(rule)).collect();
    let Ok(name) = Name::parse(name) else { return };
    for verb in Verb::ALL.iter().copied() {
        let allowed = expected(rights.rules(), verb, &name);
        let verdict = rights.judge(verb, name.as_str());
        assert_eq!(matches!(verdict, Verdict::Allowed(_)), allowed, "{rights:?}: {verb:?} {name}: {verdict:?}");
        let principal = Principal { name: node.clone(), rights: rights.clone() };
        assert_eq!(rights::allow(&principal, verb, name.as_str()), allowed);
        // What it may give is on names that it may use itself.
        for (rule, given) in rules.iter().zip(&given) {
            let grants = expected(std::slice::from_ref(rule), verb, &name);
            assert!(!given || rule.is_deny() || !grants || allowed, "{rights:?} may give {rule}: {verb:?} {name}");
        }
        let Ok(pattern) = Pattern::parse(pattern) else { continue };
        if pattern.matches(&name) {
            assert!(!allowed || rights.allow_some(verb, &pattern), "{rights:?}: {verb:?} {name} of {pattern}");
            assert!(allowed || !rights.allow_all(verb, &pattern), "{rights:?}: {verb:?} {pattern} but not {name}");
        }
        assert!(
            !rights.allow_all(verb, &pattern) || rights.allow_some(verb, &pattern),
            "{rights:?}: {verb:?} {pattern}"
        );
    }
}

/// A rule is written as it is read; what is none is told without acting on a terminal.
fn read(text: &str) -> Option<Rule> {
    match text.parse::<Rule>() {
        Ok(rule) => {
            assert_eq!(rule.to_string().parse().as_ref(), Ok(&rule), "{text:?}");
            Some(rule)
        }
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
            None
        }
    }
}

/// What the rules say, in the words of the pages.
fn expected(rules: &[Rule], verb: Verb, name: &Name) -> bool {
    let asked = match verb {
        _ if !name.is_reserved() => verb,
        Verb::Get | Verb::Watch | Verb::Subscribe => Verb::Status,
        Verb::Publish | Verb::Set | Verb::Delete | Verb::Serve | Verb::Join | Verb::Author => return false,
        Verb::Execute | Verb::Undo | Verb::Follow | Verb::Snapshot | Verb::Uplink => return false,
        other => other,
    };
    let speaks = |deny: bool| {
        rules.iter().any(|rule| rule.is_deny() == deny && rule.is_about(asked) && rule.pattern().matches(name))
    };
    speaks(false) && !speaks(true)
}
