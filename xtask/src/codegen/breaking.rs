//! Refuses changes of the protos that devices in the field would notice.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, ServiceDescriptorProto};

/// What of `old` is gone or different in `new`, one sentence each; empty when every old client is still understood.
pub(crate) fn changes(old: &FileDescriptorSet, new: &FileDescriptorSet) -> Vec<String> {
    let (old, new) = (Names::new(old), Names::new(new));
    let mut found = Vec::new();
    for package in old.packages.difference(&new.packages) {
        found.push(format!("package {package} was removed or renamed"));
    }
    for (name, before) in &old.messages {
        match new.messages.get(name) {
            None => found.push(format!("message {name} was removed")),
            Some(now) => message(name, before, now, &mut found),
        }
    }
    for (name, before) in &old.enums {
        match new.enums.get(name) {
            None => found.push(format!("enum {name} was removed")),
            Some(now) => enumeration(name, before, now, &mut found),
        }
    }
    for (name, before) in &old.services {
        match new.services.get(name) {
            None => found.push(format!("service {name} was removed")),
            Some(now) => service(name, before, now, &mut found),
        }
    }
    found
}

/// Everything of a descriptor set by its full name, without Google's own files.
#[derive(Default)]
struct Names<'a> {
    packages: BTreeSet<&'a str>,
    messages: BTreeMap<String, &'a DescriptorProto>,
    enums: BTreeMap<String, &'a EnumDescriptorProto>,
    services: BTreeMap<String, &'a ServiceDescriptorProto>,
}

impl<'a> Names<'a> {
    fn new(set: &'a FileDescriptorSet) -> Self {
        let mut names = Names::default();
        for file in set.file.iter().filter(|f| !f.package().starts_with("google.")) {
            names.packages.insert(file.package());
            for m in &file.message_type {
                names.message(file.package(), m);
            }
            names.enums.extend(file.enum_type.iter().map(|e| (format!("{}.{}", file.package(), e.name()), e)));
            names.services.extend(file.service.iter().map(|s| (format!("{}.{}", file.package(), s.name()), s)));
        }
        names
    }

    fn message(&mut self, outer: &str, m: &'a DescriptorProto) {
        let name = format!("{outer}.{}", m.name());
        for inner in &m.nested_type {
            self.message(&name, inner);
        }
        self.enums.extend(m.enum_type.iter().map(|e| (format!("{name}.{}", e.name()), e)));
        self.messages.insert(name, m);
    }
}

fn message(name: &str, old: &DescriptorProto, new: &DescriptorProto, found: &mut Vec<String>) {
    for before in &old.field {
        let what = format!("field {name}.{} ({})", before.name(), before.number());
        match new.field.iter().find(|f| f.number() == before.number()) {
            Some(now) => field(&what, (old, before), (new, now), found),
            None => match new.field.iter().find(|f| f.name() == before.name()) {
                Some(now) => found.push(format!("{what} was renumbered to {}", now.number())),
                None => found.push(format!("{what} was removed")),
            },
        }
    }
    for now in &new.field {
        let taken = |r: &prost_types::descriptor_proto::ReservedRange| (r.start()..r.end()).contains(&now.number());
        if old.reserved_range.iter().any(taken) || old.reserved_name.iter().any(|n| n == now.name()) {
            found.push(format!("field {name}.{} ({}) uses a reserved number or name", now.name(), now.number()));
        }
    }
    for r in old.reserved_range.iter().filter(|r| !new.reserved_range.contains(r)) {
        found.push(format!("message {name} no longer reserves {} to {}", r.start(), r.end() - 1));
    }
}

type Place<'a> = (&'a DescriptorProto, &'a FieldDescriptorProto);

fn field(what: &str, old: Place<'_>, new: Place<'_>, found: &mut Vec<String>) {
    let (before, now) = (old.1, new.1);
    if before.name() != now.name() {
        found.push(format!("{what} was renamed to {}", now.name()));
    } else if before.json_name() != now.json_name() {
        found.push(format!("{what} has the JSON name {}, not {}", now.json_name(), before.json_name()));
    }
    if type_of(before) != type_of(now) {
        found.push(format!("{what} is {}, not {}", type_of(now), type_of(before)));
    }
    if presence(old) != presence(new) {
        found.push(format!("{what} is {}, not {}", presence(new), presence(old)));
    }
    let packed = |f: &FieldDescriptorProto| f.options.as_ref().and_then(|o| o.packed);
    if packed(before) != packed(now) {
        found.push(format!("{what} changed its packing"));
    }
}

fn type_of(f: &FieldDescriptorProto) -> String {
    match f.r#type() {
        Type::Message | Type::Enum | Type::Group => f.type_name().trim_start_matches('.').to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    }
}

fn presence((m, f): Place<'_>) -> String {
    match f.oneof_index.and_then(|i| m.oneof_decl.get(usize::try_from(i).unwrap_or_default())) {
        _ if f.proto3_optional() => "optional".to_owned(),
        Some(group) => format!("a member of oneof {}", group.name()),
        None => format!("a single {}", f.label().as_str_name())
            .replace("a single LABEL_OPTIONAL", "plain")
            .replace("a single LABEL_", "")
            .to_lowercase(),
    }
}

fn enumeration(name: &str, old: &EnumDescriptorProto, new: &EnumDescriptorProto, found: &mut Vec<String>) {
    for before in &old.value {
        let what = format!("value {name}.{} ({})", before.name(), before.number());
        match new.value.iter().find(|v| v.name() == before.name()) {
            Some(now) if now.number() == before.number() => {}
            Some(now) => found.push(format!("{what} was renumbered to {}", now.number())),
            None => match new.value.iter().find(|v| v.number() == before.number()) {
                Some(now) => found.push(format!("{what} was renamed to {}", now.name())),
                None => found.push(format!("{what} was removed")),
            },
        }
    }
}

fn service(name: &str, old: &ServiceDescriptorProto, new: &ServiceDescriptorProto, found: &mut Vec<String>) {
    for before in &old.method {
        let what = format!("method {name}.{}", before.name());
        let Some(now) = new.method.iter().find(|m| m.name() == before.name()) else {
            found.push(format!("{what} was removed"));
            continue;
        };
        for (side, a, b) in [("takes", before.input_type(), now.input_type()), ("returns", before.output_type(), now.output_type())] {
            if a != b {
                found.push(format!("{what} {side} {}, not {}", b.trim_start_matches('.'), a.trim_start_matches('.')));
            }
        }
        if (before.client_streaming(), before.server_streaming()) != (now.client_streaming(), now.server_streaming()) {
            found.push(format!("{what} streams differently"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles one file in a folder of its own.
    fn set(proto: &str) -> FileDescriptorSet {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("am-breaking-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("a.proto"), format!("syntax = \"proto3\";\n{proto}")).unwrap();
        let set = protox::compile(["a.proto"], [&dir]).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        set
    }

    const OLD: &str = "package x.v1;
        message A { reserved 9; int32 a = 1; repeated string b = 2; oneof o { bool c = 3; B d = 4; } optional float e = 5; E f = 6; map<string, string> m = 7;
          message In { int32 i = 1; } }
        message B {}
        enum E { E_ZERO = 0; E_ONE = 1; }
        service S { rpc Get(A) returns (B); rpc Watch(A) returns (stream B); }";

    fn after(from: &str, to: &str) -> Vec<String> {
        assert!(OLD.contains(from), "{from}");
        changes(&set(OLD), &set(&OLD.replacen(from, to, 1)))
    }

    #[test]
    fn additions_are_compatible() {
        assert_eq!(after("int32 a = 1;", "int32 a = 1; int32 z = 20;"), Vec::<String>::new());
        assert_eq!(after("message B {}", "message B { string s = 1; } message C {}"), Vec::<String>::new());
        assert_eq!(after("E_ONE = 1;", "E_ONE = 1; E_TWO = 2;"), Vec::<String>::new());
        assert_eq!(after("rpc Get(A)", "rpc Put(A) returns (B); rpc Get(A)"), Vec::<String>::new());
    }

    #[test]
    fn each_breaking_change_is_named_with_its_element() {
        for (from, to, message) in [
            ("int32 a = 1;", "", "field x.v1.A.a (1) was removed"),
            ("int32 a = 1;", "int32 a = 8;", "field x.v1.A.a (1) was renumbered to 8"),
            ("int32 a = 1;", "int32 aa = 1;", "field x.v1.A.a (1) was renamed to aa"),
            ("int32 a = 1;", "int64 a = 1;", "field x.v1.A.a (1) is int64, not int32"),
            ("int32 a = 1;", "repeated int32 a = 1;", "field x.v1.A.a (1) is repeated, not plain"),
            ("int32 a = 1;", "optional int32 a = 1;", "field x.v1.A.a (1) is optional, not plain"),
            ("int32 a = 1;", "int32 a = 1 [json_name = \"q\"];", "field x.v1.A.a (1) has the JSON name q, not a"),
            ("optional float e = 5;", "float e = 5;", "field x.v1.A.e (5) is plain, not optional"),
            ("oneof o { bool c = 3;", "bool c = 3; oneof o {", "field x.v1.A.c (3) is plain, not a member of oneof o"),
            ("oneof o {", "oneof p {", "field x.v1.A.c (3) is a member of oneof p, not a member of oneof o"),
            ("B d = 4;", "A d = 4;", "field x.v1.A.d (4) is x.v1.A, not x.v1.B"),
            ("map<string, string> m", "map<string, int32> m", "field x.v1.A.MEntry.value (2) is int32, not string"),
            ("message In { int32 i = 1; }", "", "message x.v1.A.In was removed"),
            ("reserved 9;", "int32 n = 9;", "field x.v1.A.n (9) uses a reserved number or name"),
            ("reserved 9;", "", "message x.v1.A no longer reserves 9 to 9"),
            ("E_ONE = 1;", "", "value x.v1.E.E_ONE (1) was removed"),
            ("E_ONE = 1;", "E_ONE = 2;", "value x.v1.E.E_ONE (1) was renumbered to 2"),
            ("E_ONE = 1;", "E_UNO = 1;", "value x.v1.E.E_ONE (1) was renamed to E_UNO"),
            ("rpc Get(A) returns (B);", "", "method x.v1.S.Get was removed"),
            ("rpc Get(A) returns (B);", "rpc Get(B) returns (B);", "method x.v1.S.Get takes x.v1.B, not x.v1.A"),
            ("returns (stream B)", "returns (B)", "method x.v1.S.Watch streams differently"),
            ("service S", "service T", "service x.v1.S was removed"),
            ("package x.v1;", "package x.v2;", "package x.v1 was removed or renamed"),
        ] {
            let found = after(from, to);
            assert!(found.iter().any(|f| f == message), "{from} to {to}: {found:?}");
        }
    }

    #[test]
    fn what_devices_in_the_field_send_is_frozen() {
        let root = crate::project_root();
        let set = super::super::compile(&root).unwrap();
        let names = Names::new(&set);
        let fields = |message: &str| -> Vec<String> {
            let m = names.messages[message];
            m.field.iter().map(|f| format!("{} {} = {} {}", type_of(f), f.name(), f.number(), presence((m, f)))).collect()
        };
        let reading = fields("am.v1.Reading");
        for frozen in [
            "string device_id = 1 plain",
            "string reading_id = 2 plain",
            "google.protobuf.Timestamp recorded_at = 3 plain",
            "am.v1.Reading.MetadataEntry metadata = 4 repeated",
            "string kind = 5 plain",
            "am.v1.HeartRate heart_rate = 10 a member of oneof data",
            "am.v1.Gps gps = 11 a member of oneof data",
            "am.v1.Accelerometer accelerometer = 12 a member of oneof data",
            "am.v1.AudioChunk audio = 13 a member of oneof data",
            "am.v1.Image image = 14 a member of oneof data",
        ] {
            assert!(reading.iter().any(|f| f == frozen), "{frozen}\n{reading:#?}");
        }
        assert_eq!(fields("am.v1.Reading.MetadataEntry"), ["string key = 1 plain", "string value = 2 plain"]);
        assert_eq!(
            fields("am.v1.HeartRate"),
            ["int32 bpm = 1 plain", "float confidence = 2 plain", "am.v1.HeartRate.Zone zone = 3 plain", "string source = 4 plain"]
        );
        assert_eq!(fields("am.v1.Accelerometer"), ["float x = 1 plain", "float y = 2 plain", "float z = 3 plain"]);
        let zone: Vec<_> = names.enums["am.v1.HeartRate.Zone"].value.iter().map(|v| (v.number(), v.name().to_owned())).collect();
        assert_eq!(
            zone,
            ["ZONE_UNSPECIFIED", "ZONE_RESTING", "ZONE_FAT_BURN", "ZONE_CARDIO", "ZONE_PEAK"]
                .map(str::to_owned)
                .into_iter()
                .enumerate()
                .map(|(i, n)| (i as i32, n))
                .collect::<Vec<_>>()
        );
        let methods: Vec<_> = names.services["am.v1.DataIngestionService"].method.iter().map(|m| m.name()).collect();
        for m in ["StreamData", "BatchUpload", "RegisterDevice", "HealthCheck"] {
            assert!(methods.contains(&m), "{m}");
        }
    }
}
