//! What is on the wire and on disk stays readable: two versions run side by side
//! during an upgrade, and streams outlive versions.

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

/// Every field and every value there is, one a line.
fn described() -> String {
    let files = FileDescriptorSet::decode(protocol::DESCRIPTORS).expect("ours can be read");
    let ours = files.file.iter().filter(|file| file.package() == "postrider.v1");
    let mut lines = Vec::new();
    for file in ours {
        file.message_type.iter().for_each(|message| fields(message, message.name(), &mut lines));
        file.enum_type.iter().for_each(|kind| values(kind, kind.name(), &mut lines));
        for service in &file.service {
            for call in &service.method {
                let stream = |is: bool| if is { "stream " } else { "" };
                lines.push(format!(
                    "{}.{} takes {}{}, answers {}{}",
                    service.name(),
                    call.name(),
                    stream(call.client_streaming()),
                    call.input_type(),
                    stream(call.server_streaming()),
                    call.output_type()
                ));
            }
        }
    }
    lines.sort_unstable();
    lines.join("\n") + "\n"
}

fn fields(message: &DescriptorProto, name: &str, lines: &mut Vec<String>) {
    for field in &message.field {
        let kind = match field.r#type() {
            Type::Message | Type::Enum => field.type_name().to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        let many = if field.label() == Label::Repeated { "repeated " } else { "" };
        let mut line = format!("{name} {} = {many}{kind} {}", field.number(), field.name());
        if let Some(index) = field.oneof_index {
            let oneof = usize::try_from(index).expect("a place in a list");
            line += &format!(", one of {}", message.oneof_decl[oneof].name());
        }
        lines.push(line);
    }
    for inner in &message.nested_type {
        fields(inner, &format!("{name}.{}", inner.name()), lines);
    }
    for inner in &message.enum_type {
        values(inner, &format!("{name}.{}", inner.name()), lines);
    }
}

fn values(kind: &EnumDescriptorProto, name: &str, lines: &mut Vec<String>) {
    for value in &kind.value {
        lines.push(format!("{name} {} = {}", value.number(), value.name()));
    }
}

/// A line that goes or changes is something that an older version has written and this
/// one misreads: give the new field a new number, and reserve the old one. Where nobody
/// can have written it yet, and for every line that is new, `cargo insta accept`.
#[test]
fn no_field_changes_its_number_or_its_type() {
    insta::assert_snapshot!(described());
}
