//! How machines of a network start and end, and what becomes of their disks meanwhile.

use std::time::Duration;

use peerchat_core::Error;
use peerchat_core::crypto::{DeviceCipher, StandIn};
use peerchat_core::engine::Engine;
use peerchat_core::event::MessageId;
use peerchat_core::save::Saved;
use peerchat_core::storage::faults::Fault;
use rand::Rng;

use super::{Host, Network};
use crate::disk::Disk;
use crate::profile::Profile;

impl Network {
    /// Starts the machine with what is on its disk.
    ///
    /// # Panics
    ///
    /// The disk refuses.
    pub fn start(&mut self, host: Host) {
        self.try_start(host).unwrap_or_else(|error| panic!("{host:?} does not start: {error}"));
    }

    /// Starts the machine if its disk lets it.
    ///
    /// # Errors
    ///
    /// The disk is a real one and refuses.
    pub fn try_start(&mut self, host: Host) -> Result<(), Error> {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let machine = &mut self.machines[host.0];
        let now = machine.clock(self.now);
        machine.run += 1;
        let saved = machine.open()?;
        machine.failure = None;
        let cipher = machine.config.user.as_ref().map(|_| device_cipher(&saved, seed));
        machine.engine = Some(Engine::new(machine.config.clone(), saved, cipher, seed, now));
        self.drain(host);
        Ok(())
    }

    /// Stops the machine in an orderly way: what is otherwise saved now and then is saved first.
    pub fn stop(&mut self, host: Host) {
        self.with_engine(host, Engine::save_routing);
        self.run_until(Duration::from_secs(1), |network| {
            network.machines[host.0].engine.as_ref().is_none_or(Engine::is_saved)
        });
        self.machines[host.0].end();
        self.machines[host.0].profile.iter_mut().for_each(Profile::close);
    }

    /// Cuts the power of the machine: what was being written is lost.
    pub fn kill(&mut self, host: Host) {
        self.machines[host.0].end();
        self.machines[host.0].profile.iter_mut().for_each(Profile::cut);
    }

    /// Ends the machine as a client ends whose disk refuses what it has to write.
    pub(super) fn fail(&mut self, host: Host, error: Error) {
        let machine = &mut self.machines[host.0];
        machine.end();
        machine.profile.iter_mut().for_each(Profile::close);
        machine.failure = Some(error);
    }

    /// Returns why its disk has ended the machine, unless that was before it was started last.
    #[must_use]
    pub fn failure(&self, host: Host) -> Option<&Error> {
        self.machines[host.0].failure.as_ref()
    }

    /// Saves a text for sending and waits until it is on disk.
    ///
    /// # Errors
    ///
    /// The disk refuses, and has ended the machine: the text is not on it.
    ///
    /// # Panics
    ///
    /// The machine is off, has no user, or refuses.
    pub fn try_send(&mut self, from: Host, to: &str, text: &str) -> Result<MessageId, Error> {
        let id = self.begin_send(from, to, text, None);
        self.run_until(Duration::from_secs(1), |network| {
            network.failure(from).is_some() || network.machines[from.0].saved.contains(&id)
        });
        self.failure(from).map_or(Ok(id), |error| Err(error.clone()))
    }

    /// Returns the profile of a machine that was added with a real disk.
    ///
    /// # Panics
    ///
    /// It was not.
    #[must_use]
    pub fn profile(&self, host: Host) -> &Profile {
        self.machines[host.0].profile.as_ref().expect("it has a real disk")
    }

    /// Lets the real disk of a machine refuse from now on, or no longer. See [`Profile::set_fault`].
    ///
    /// # Panics
    ///
    /// It has none.
    pub fn set_fault(&mut self, host: Host, fault: Option<Fault>) {
        self.machines[host.0].profile.as_mut().expect("it has a real disk").set_fault(fault);
    }

    /// Gives a machine that is off another profile, which is closed.
    ///
    /// # Errors
    ///
    /// The profile cannot be read.
    pub fn install(&mut self, host: Host, mut profile: Profile) -> Result<(), Error> {
        let machine = &mut self.machines[host.0];
        let (disk, _) = profile.open(machine.disk.keys())?;
        profile.close();
        machine.disk = disk;
        machine.profile = Some(profile);
        Ok(())
    }

    /// Returns a copy of the machine's disk, which is no real one, as it is now.
    #[must_use]
    pub fn back_up(&self, host: Host) -> Disk {
        self.machines[host.0].disk.clone()
    }

    /// Puts a copy of a disk into a machine that is off.
    pub fn restore(&mut self, host: Host, backup: Disk) {
        self.machines[host.0].disk = backup;
        self.machines[host.0].disk.cut();
    }

    /// Returns the disk, which is no real one, of a machine that is off, to damage it.
    pub fn disk_mut(&mut self, host: Host) -> &mut Disk {
        &mut self.machines[host.0].disk
    }
}

/// Takes up the keys of a device, or makes them.
fn device_cipher(saved: &Saved, seed: [u8; 32]) -> Box<dyn DeviceCipher> {
    let seed = u64::from_be_bytes(*seed.first_chunk().expect("a seed is longer"));
    Box::new(match &saved.device {
        Some(device) => StandIn::restore(&device.state, seed).expect("the disk keeps what was written"),
        None => StandIn::new(seed),
    })
}
