"""Channels: one IM platform per set of files, each behind the Channel port."""
