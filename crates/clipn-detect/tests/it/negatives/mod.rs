mod cache;
mod choice;
mod encode;
mod file;
