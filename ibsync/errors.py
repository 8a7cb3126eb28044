"""What can go wrong, in three kinds: the data, the request, the machine."""


class IbsyncError(Exception):
    """Base of every error that ibsync raises on purpose; its text is one line that names the fix."""


class InputError(IbsyncError):
    """A file, recording, dyad or channel cannot be used as it is."""


class PlanError(IbsyncError):
    """What was asked for cannot be computed: a band, a design, a setting, a memory budget."""


class DeviceError(IbsyncError):
    """The backend that was asked for is missing or failed."""
