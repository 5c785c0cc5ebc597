"""Lambda Cloud on 127.0.0.1: the API, machines with a real sshd that obey their user_data, and a hidden invoice."""
