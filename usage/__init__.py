"""Who used what and what it cost: prices of models. Imports only accounts and foundation."""
