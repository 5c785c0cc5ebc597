"""The provider `ray`: jobs on a Ray cluster of the user's, over the HTTP of its dashboard. Ray itself is not needed."""
