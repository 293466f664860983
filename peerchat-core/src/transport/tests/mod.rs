//! Two transports on a virtual network.
