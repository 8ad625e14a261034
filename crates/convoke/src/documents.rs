//! The pages that show Rust, so that each example in them is compiled and run with the tests.

macro_rules! pages {
    ($($page:ident = $path:literal;)*) => {
        $(
            #[doc = include_str!(concat!("../../../", $path))]
            struct $page;
        )*
    };
}

pages! {
    ReadMe = "README.md";
    FirstSteps = "docs/guide/first-steps.md";
    Events = "docs/guide/events.md";
    Values = "docs/guide/values.md";
    Services = "docs/guide/services.md";
    Commands = "docs/guide/commands.md";
    Offline = "docs/guide/offline.md";
    Members = "docs/guide/members.md";
    PermanentLinks = "docs/guide/permanent-links.md";
    Joining = "docs/guide/joining.md";
    Rights = "docs/guide/rights.md";
    TwoMachines = "docs/guide/two-machines.md";
    Uplinks = "docs/guide/uplinks.md";
    InOneProgram = "docs/guide/in-one-program.md";
    ClientDispatcherServer = "docs/coming-from/client-dispatcher-server.md";
    DistributedCommandPattern = "docs/coming-from/distributed-command-pattern.md";
    OrderedStarServer = "docs/coming-from/ordered-star-server.md";
}
