//! Answers questions for names without asking anybody: a question is a message to whoever answers it.
//!
//! A name that the policy allows is said to be at the sandbox's own doors, where a program that knows no proxy finds one all
//! the same. Any other name does not exist, at once, and is on the receipt.

use std::net::Ipv4Addr;

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE};

use crate::host::Host;

/// Seconds that an answer may be kept: it never changes, but the policy of the next phase does.
const TTL: u32 = 5;

/// What is asked.
pub(crate) struct Question<'a> {
    packet: Packet<'a>,
    /// The name, as it stands there.
    pub(crate) name: String,
}

/// What is said.
pub(crate) enum Answer {
    /// It is there.
    At(Ipv4Addr),
    /// There is no such name.
    Nowhere,
}

impl<'a> Question<'a> {
    /// Reads a message. `None`: it is no question for one name.
    pub(crate) fn read(message: &'a [u8]) -> Option<Self> {
        let packet = Packet::parse(message).ok()?;
        let [question] = &packet.questions[..] else { return None };
        let is_question =
            !packet.has_flags(PacketFlag::RESPONSE) && question.qclass == QCLASS::CLASS(CLASS::IN);
        let name = question.qname.to_string();
        is_question.then_some(Self { packet, name })
    }

    /// The host that it is about, if it is one that could be.
    pub(crate) fn host(&self) -> Option<Host> {
        Host::parse(&self.name).ok()
    }

    /// The message that answers it.
    pub(crate) fn answer(self, answer: &Answer) -> Option<Vec<u8>> {
        let wants_v4 = matches!(self.packet.questions[0].qtype, QTYPE::TYPE(TYPE::A) | QTYPE::ANY);
        let name = self.packet.questions[0].qname.clone().into_owned();
        let wanted = self.packet.has_flags(PacketFlag::RECURSION_DESIRED);
        let mut reply = self.packet.into_reply();
        reply.answers.clear();
        reply.name_servers.clear();
        reply.additional_records.clear();
        reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
        if wanted {
            reply.set_flags(PacketFlag::RECURSION_DESIRED);
        }
        match answer {
            Answer::Nowhere => *reply.rcode_mut() = RCODE::NameError,
            Answer::At(address) if wants_v4 => {
                let data = RData::A(A { address: (*address).into() });
                reply.answers.push(ResourceRecord::new(name, CLASS::IN, TTL, data));
            }
            // It exists, and has nothing of this kind.
            Answer::At(_) => {}
        }
        reply.build_bytes_vec().ok()
    }
}
