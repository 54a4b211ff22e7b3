break check
continue
print *(long *)&balance
watch *(long *)&balance
reverse-continue
x/i $pc
print $rcx
print *(long *)&squares@8
stepi
print *(long *)&balance
delete
reverse-stepi
info threads
monitor help
detach
